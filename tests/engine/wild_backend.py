"""A backend without weights whose outputs are random."""

import numpy as np

from localrouter.engine.backends.base import Logits
from localrouter.engine.backends.echo import END, VOCABULARY, EchoBackend
from localrouter.engine.scheduling.batch import Batch
from localrouter.load_options import LoadOptions


class WildBackend(EchoBackend):
    """Finds every token about as likely; `end` is added to the logit of the end token."""

    def __init__(self, seed: int, *, end: float = 0) -> None:
        super().__init__(LoadOptions(context=400, cells=500, max_sequences=3))
        self.draw = np.random.default_rng(seed)
        self.end = end

    def decode(self, batch: Batch) -> Logits:
        super().decode(batch)
        logits = self.draw.normal(0, 2, (len(batch.outputs), VOCABULARY)).astype(np.float32)
        logits[:, END] += self.end
        return logits
