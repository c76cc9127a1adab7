# biam-pipe without build tools, as a user without rights.
#   docker build --tag biam-pipe .                                     for GPUs and CPUs, with the libraries of CUDA (5 GB)
#   docker build --tag biam-pipe --build-arg TORCH_OPTIONS=OPTIONS .   for CPUs: the options of pip by which PyTorch gives wheels for these
#   docker run --rm --volume "$PWD/work:/work" biam-pipe run --dataset demo --work /work
# The work folder has to be writable for user 10001. Extras: --build-arg EXTRAS='[real,timm]'.
ARG PYTHON=3.11

FROM python:${PYTHON}-slim-bookworm AS build
ARG TORCH_OPTIONS=
ARG EXTRAS=
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PATH=/opt/biam-pipe/bin:$PATH
WORKDIR /source
RUN python -m venv /opt/biam-pipe
COPY constraints.txt ./
# First the largest part, which seldom changes.
RUN pip install --constraint constraints.txt ${TORCH_OPTIONS} torch torchvision
COPY . ./
RUN pip install --constraint constraints.txt ".${EXTRAS}"

FROM python:${PYTHON}-slim-bookworm
RUN groupadd --gid 10001 biam \
    && useradd --uid 10001 --gid biam --create-home --shell /usr/sbin/nologin biam \
    && install --directory --owner biam --group biam /work /var/cache/biam-pipe
COPY --from=build /opt/biam-pipe /opt/biam-pipe
ENV PATH=/opt/biam-pipe/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    BIAM_PIPE_CACHE=/var/cache/biam-pipe \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 10001:10001
WORKDIR /work
STOPSIGNAL SIGINT
ENTRYPOINT ["biam-pipe"]
CMD ["--help"]
