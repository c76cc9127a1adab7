"""How good scores are. NumPy only, so that nothing here imports torch.

What a protocol's module has to have stands in `contract.EvaluationProtocol`. `protocols` calls it by name, and adds the
means, the best K, chance and both controls.

A `ScoreTable` holds scores [image, label], float32, larger means more likely, and codes, int8, +1 present, -1 absent, 0
unknown, in memory or with the scores in a file. All sums run in float64. Equal scores are one step of a ranking by
label; in a ranking by image the lower label index goes first.
"""

from pipeline.engine.registry import Registry
from pipeline.metrics.contract import EvaluationProtocol

PROTOCOLS: Registry[EvaluationProtocol] = Registry(
    "protocol",
    {
        "nuswide": "pipeline.metrics.nuswide",
        "openimages": "pipeline.metrics.openimages",
        "openimages-biam": "pipeline.metrics.openimages_biam",
    },
    EvaluationProtocol,
    "protocols",
    trial="pipeline.metrics.trial",
)
