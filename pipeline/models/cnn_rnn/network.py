"""The network of CNN-RNN: an LSTM over labels, its likelihood in training and its beam search in scoring."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int8, Int64
from torch import Tensor, nn
from torch.nn import functional

from pipeline.models.cnn_rnn import CnnRnnConfig
from pipeline.models.shared.input_norm import InputNorm
from pipeline.models.shared.precision import wide
from schemas.status import LabelCode

_CELLS_AT_ONCE = 1 << 23  # [image, beam, label] in scoring: 32 MB


class CnnRnn(nn.Module):
    """Says labels, then the end. Columns of what it says: the labels that it learns, then the end.

    Args:
        settings: sizes, beams and steps.
        size: elements of the feature.
        labels: that it learns.

    Symbols, ours -> the paper's: label_vectors -> U_l (labels, then start, then end), of_state -> U_o, of_image -> U_I.

    Attributes:
        frequency: int64 [label], training images that bear each label, once it is fitted.
    """

    frequency: Tensor

    def __init__(self, settings: CnnRnnConfig, size: int, labels: int) -> None:
        super().__init__()
        self.settings, self.labels = settings, labels
        vector, state = settings.label_size, settings.state_size
        self.input_norm = InputNorm(settings.input_norm, size)
        self.label_vectors = nn.Parameter(torch.randn(labels + 2, vector) / vector**0.5)
        self.cell = Cell(vector, state)
        self.of_state = nn.Linear(state, vector, bias=False)
        self.of_image = nn.Linear(size, vector, bias=False)
        self.register_buffer("frequency", torch.zeros(labels, dtype=torch.int64))

    def forward(
        self,
        feature: Float[Tensor, "image ..."],
        words: Float[Tensor, "seen word"],
        codes: Int8[Tensor, "image seen"] | None = None,
    ) -> Tensor:
        """In training how unlikely the labels of each image are, [image]; else scores [image, label], float32.

        The words do not count.
        """
        del words
        image = self.of_image(self.input_norm(feature))
        if self.training:
            assert codes is not None, "training reads codes"
            return self._unlikeliness(image, codes)
        at_once = max(1, _CELLS_AT_ONCE // (self.settings.beams * (self.labels + 1)))
        return torch.cat([self._scores(some) for some in image.split(at_once)])

    def log_probabilities(
        self, image: Float[Tensor, "row vector"], state: Float[Tensor, "row state"], masked: Tensor | None = None
    ) -> Float[Tensor, "row said"]:
        """Of each label to be the next one, and of the end, float32 at least.

        Args:
            image: what the feature became.
            state: of the recurrent network, after the labels so far.
            masked: bool [row, said], what cannot be said; None: all can.
        """
        joint = functional.relu(self.of_state(state) + image)
        said = torch.cat([self.label_vectors[: self.labels], self.label_vectors[self.labels + 1 :]])
        logits = wide(joint @ said.T)
        return functional.log_softmax(logits if masked is None else logits.masked_fill(masked, -torch.inf), dim=1)

    def targets(self, codes: Int8[Tensor, "image seen"]) -> Int64[Tensor, "image step"]:
        """What each image has to say: its labels, frequent ones first, then the end; -1 behind it."""
        present, most = codes == LabelCode.PRESENT, self.settings.most_labels
        order = torch.argsort(self.frequency, descending=True, stable=True)
        ordered = present[:, order]
        counts = ordered.sum(dim=1).clamp(max=most)
        targets = torch.full((len(codes), int(counts.max()) + 1), -1, dtype=torch.int64, device=codes.device)
        place = ordered.cumsum(dim=1) - 1
        images, columns = torch.nonzero(ordered & (place < most), as_tuple=True)
        targets[images, place[images, columns]] = order[columns]
        targets[torch.arange(len(codes), device=codes.device), counts] = self.labels
        return targets

    def _unlikeliness(
        self, image: Float[Tensor, "image vector"], codes: Int8[Tensor, "image seen"]
    ) -> Float[Tensor, " image"]:
        """The mean over what an image has to say of its negative log-probability, given what stands before it."""
        targets = self.targets(codes)
        unknown = functional.pad(codes == LabelCode.UNKNOWN, (0, 1))
        said = self._start(len(image))
        hidden, memory = self.cell.empty(image)
        total = image.new_zeros(len(image), dtype=torch.float32)
        for step in range(targets.shape[1]):
            hidden, memory = self.cell(said, hidden, memory)
            due = targets[:, step]
            there = due.clamp(min=0)
            likely = self.log_probabilities(image, hidden, unknown).gather(1, there[:, None])[:, 0]
            total = total - likely.masked_fill(due < 0, 0)
            said = self.label_vectors[there.clamp(max=self.labels - 1)]
        return total / (targets >= 0).sum(dim=1)

    def _start(self, rows: int) -> Float[Tensor, "row vector"]:
        return self.label_vectors[self.labels].expand(rows, -1)

    def _scores(self, image: Float[Tensor, "image vector"]) -> Float[Tensor, "image label"]:
        """The largest probability that each label had on the best way, and 1 more where it was said on it."""
        beams = self.settings.beams
        ways = _Ways.beginning(len(image), beams, self.labels, image.device)
        said = self._start(len(image) * beams)
        hidden, memory = self.cell.empty(image.repeat_interleave(beams, dim=0))
        by_way = image.repeat_interleave(beams, dim=0)
        for _ in range(self.settings.steps):
            hidden, memory = self.cell(said, hidden, memory)
            likely = self.log_probabilities(by_way, hidden).unflatten(0, (-1, beams))
            origin, label = ways.extend(likely)
            rows = (origin + beams * torch.arange(len(image), device=image.device)[:, None]).flatten()
            hidden, memory = hidden[rows], memory[rows]
            said = self.label_vectors[label.flatten().clamp(max=self.labels - 1)]
        return ways.scores()


class Cell(nn.Module):
    """One step of an LSTM, with one offset; gates stand in the order input, forget, cell, output."""

    def __init__(self, size: int, state: int) -> None:
        super().__init__()
        bound = state**-0.5
        self.of_input = nn.Parameter(torch.empty(4 * state, size).uniform_(-bound, bound))
        self.of_state = nn.Parameter(torch.empty(4 * state, state).uniform_(-bound, bound))
        self.offset = nn.Parameter(torch.empty(4 * state).uniform_(-bound, bound))

    def empty(self, like: Float[Tensor, "row any"]) -> tuple[Tensor, Tensor]:
        """State and memory before anything was read, [row, state] each."""
        nothing = like.new_zeros(len(like), self.of_state.shape[1])
        return nothing, nothing

    def forward(
        self, given: Float[Tensor, "row vector"], state: Float[Tensor, "row state"], memory: Float[Tensor, "row state"]
    ) -> tuple[Tensor, Tensor]:
        """State and memory after reading one label."""
        gates = functional.linear(given, self.of_input, self.offset) + functional.linear(state, self.of_state)
        let_in, keep, candidate, let_out = gates.chunk(4, dim=1)
        memory = keep.sigmoid() * memory + let_in.sigmoid() * candidate.tanh()
        return let_out.sigmoid() * memory.tanh(), memory


@dataclass
class _Ways:
    """Beginnings that are followed: how likely each is, what was said on it, and how likely each label ever was.

    Attributes:
        likely: [image, beam], sums of log-probabilities.
        ended: bool [image, beam].
        said: bool [image, beam, label].
        best: [image, beam, label], probabilities.
    """

    likely: Float[Tensor, "image beam"]
    ended: Bool[Tensor, "image beam"]
    said: Bool[Tensor, "image beam label"]
    best: Float[Tensor, "image beam label"]

    @classmethod
    def beginning(cls, images: int, beams: int, labels: int, device: torch.device) -> "_Ways":
        """One empty way; the others are impossible."""
        likely = torch.full((images, beams), -torch.inf, device=device)
        likely[:, 0] = 0
        shape = (images, beams, labels)
        return cls(
            likely,
            torch.zeros(images, beams, dtype=torch.bool, device=device),
            torch.zeros(shape, dtype=torch.bool, device=device),
            torch.zeros(shape, device=device),
        )

    def extend(
        self, likely: Float[Tensor, "image beam said"]
    ) -> tuple[Int64[Tensor, "image beam"], Int64[Tensor, "image beam"]]:
        """Follow the likeliest ways one label, or the end, further; a way that ended stays as it is.

        Args:
            likely: log-probabilities of what may come next on each way.

        Returns:
            From which way each way goes on, and with which column.
        """
        end = likely.shape[2] - 1
        here = likely[:, :, :end].exp().masked_fill(self.ended[:, :, None], 0)
        self.best = torch.maximum(self.best, here)
        following = likely.masked_fill(functional.pad(self.said, (0, 1)), -torch.inf)
        following = following.masked_fill(self.ended[:, :, None], -torch.inf)
        following[:, :, end] = following[:, :, end].masked_fill(self.ended, 0)
        everywhere = (self.likely[:, :, None] + following).flatten(1)
        self.likely, place = _largest(everywhere, self.likely.shape[1])
        origin, column = place // likely.shape[2], place % likely.shape[2]
        by_label = origin[:, :, None].expand(-1, -1, end)
        self.said, self.best = self.said.gather(1, by_label), self.best.gather(1, by_label)
        self.ended = self.ended.gather(1, origin) | (column == end)
        words = (column < end).nonzero(as_tuple=True)
        self.said[(*words, column[words])] = True
        return origin, column

    def scores(self) -> Float[Tensor, "image label"]:
        """Of the likeliest way that ended, or of the likeliest where none did."""
        ended = self.likely.masked_fill(~self.ended, -torch.inf)
        any_ended = ended.isfinite().any(dim=1, keepdim=True)
        way = torch.where(any_ended, ended, self.likely).argmax(dim=1)
        images = torch.arange(len(way), device=way.device)
        return self.best[images, way] + self.said[images, way]


def _largest(values: Float[Tensor, "row column"], number: int) -> tuple[Tensor, Int64[Tensor, "row number"]]:
    """The largest of each row and where they stand, largest first; of equal ones the lower columns."""
    place = values.topk(number, dim=1).indices
    least = values.gather(1, place).amin(dim=1, keepdim=True)
    if ((values >= least) & least.isfinite()).sum(dim=1).max() > number:  # rare: sorting all takes ten times as long
        place = torch.argsort(values, dim=1, descending=True, stable=True)[:, :number]
    place = place.sort(dim=1).values
    of_place = values.gather(1, place)
    order = torch.argsort(of_place, dim=1, descending=True, stable=True)
    return of_place.gather(1, order), place.gather(1, order)
