"""Keys of the embedded cluster: made for one run, held in memory, gone with its processes.

Loopback is no border between the users of a machine: whoever reaches a port of Dask's without keys runs code as the
user of the run. With them each side of a connection shows a certificate that this run has signed, or there is none.
Dask hands the key to a worker through the pipe by which it starts it; to give it to OpenSSL it writes it for a moment
into a folder that this user alone can enter.
"""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distributed.security import Security

_NAME = "biam-pipe run"
_CLOCK = timedelta(days=1)  # by which it may be set back while a run goes on
_LIFE = timedelta(days=3650)  # it ends with the run; one that outlasts its certificate would lose its workers


def run_keys() -> "Security":
    """Settings of Dask's with a new key, by which scheduler, workers and client know each other.

    One key on a curve does for all: a new one takes a tenth of a millisecond, where one of RSA, as
    `Security.temporary` makes it, takes a tenth of a second, and each connection some milliseconds more.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID
    from distributed.security import Security

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _NAME)])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().issuer_name(name).subject_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    signed = builder.not_valid_before(now - _CLOCK).not_valid_after(now + _LIFE).sign(key, hashes.SHA256())
    certificate = signed.public_bytes(serialization.Encoding.PEM).decode()
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    roles = ("client", "scheduler", "worker")
    shown = {f"tls_{role}_cert": certificate for role in roles} | {f"tls_{role}_key": secret for role in roles}
    return Security(require_encryption=True, tls_ca_file=certificate, **shown)
