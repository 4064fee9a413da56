"""Steps of training: on batches cut on the host, or on a data set that stays on the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from tagnn_fast.data.examples import ExampleBatch, PrefixExamples, parts
from tagnn_fast.nn.session_model import SessionModel
from tagnn_fast.ops import library
from tagnn_fast.parallel.processes import ALONE, Processes
from tagnn_fast.runs.configuration import Decayed, Optimizer, TrainingConfig
from tagnn_fast.training.clipping import clip_units
from tagnn_fast.training.example_weights import weights_by_age
from tagnn_fast.training.gradient_sum import GradientSum
from tagnn_fast.training.weight_average import WeightAverage

if TYPE_CHECKING:
    from lightning_fabric import Fabric

CLICKS_UNIT = 256  # sizes of batches on the device are multiples: most epochs have the same
CALLS_BEFORE_RECORDING = 3


class Steps:
    """The steps of an epoch, each on a batch that is cut on the host and sent to the device.

    Args:
        fabric: the device and its precision.
        model: from ``fabric.setup``.
        optimizer: from ``fabric.setup``.
        examples: what is trained on.
        batch_size: examples per step; an epoch's last may have fewer.
        most_clicks: that are computed at once; a batch with more is computed in parts, see :func:`parts`.
        example_weights: what each example's loss counts, float (examples,); None for all the same.
        gradient_clipping: see :class:`~tagnn_fast.runs.configuration.TrainingConfig`.
        average: to be updated after each step.
        gradient_sum: where other processes have a share of each batch, too; the same order is set on all.
        adaptive_clipping: see :class:`~tagnn_fast.runs.configuration.TrainingConfig` for this and the next.
        label_smoothing: of the losses.
    """

    def __init__(
        self,
        fabric: Fabric,
        model: Any,
        optimizer: Any,
        examples: PrefixExamples,
        batch_size: int,
        most_clicks: int | None = None,
        example_weights: Tensor | None = None,
        gradient_clipping: float = 0.0,
        average: WeightAverage | None = None,
        gradient_sum: GradientSum | None = None,
        adaptive_clipping: float = 0.0,
        label_smoothing: float = 0.0,
    ) -> None:
        self.gradient_sum = gradient_sum
        self.processes = ALONE if gradient_sum is None else gradient_sum.processes
        self.fabric, self.model, self.optimizer = fabric, model, optimizer
        self.examples, self.batch_size, self.most_clicks = examples, batch_size, most_clicks
        self.example_weights, self.gradient_clipping, self.average = example_weights, gradient_clipping, average
        self.adaptive_clipping, self.label_smoothing = adaptive_clipping, label_smoothing
        self.lengths = examples.prefix_lengths()

    def begin_epoch(self, order: Tensor) -> None:
        """Set the order of the epoch's examples, int64 (examples,) on the CPU."""
        self.order = order

    def take(self, number: int) -> Tensor:
        """Take step `number` of the epoch; the mean loss of its examples, a scalar that lasts until the next step."""
        places = self._places(number)
        own = self._own(places)
        return self._step(own.split(parts(self.lengths[own], self.most_clicks)), places.shape[0])

    def _places(self, number: int) -> Tensor:
        return self.order[number * self.batch_size : (number + 1) * self.batch_size]

    def _own(self, places: Tensor) -> Tensor:
        """What this process has of a batch; where nothing is left for it, one example that counts nothing."""
        rank, count = self.processes.rank, self.processes.count
        return places.tensor_split(count)[rank] if rank < places.shape[0] else places[:1]

    def _step(self, own: Sequence[Tensor], examples: int) -> Tensor:
        """A step on a batch of so many examples, of which this process computes its own, in parts.

        However many there are, it is the same step but for rounding: the mean over all examples is that of the parts,
        weighted.
        """
        self.optimizer.zero_grad()
        table = self.gradient_sum.begin() if self.gradient_sum is not None else None
        losses = []
        for number, part in enumerate(own, start=1):
            if self.gradient_sum is not None and number == len(own):
                self.gradient_sum.begin_last_part()
            counted = part.shape[0] if self.processes.rank < examples else 0
            losses.append(self._gradient(part, counted / examples, table))
        loss = losses[0] if len(losses) == 1 else torch.stack(losses).sum()
        if self.gradient_sum is not None:
            loss = self.gradient_sum.finish(loss)
        self._update()
        return loss

    def _update(self) -> None:
        if self.adaptive_clipping:
            clip_units(self.model.parameters(), self.adaptive_clipping)
        if self.gradient_clipping:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.gradient_clipping)
        self.optimizer.step()
        if self.average is not None:
            self.average.update()

    def _gradient(self, places: Tensor, share: float, table: Tensor | None) -> Tensor:
        """Add the gradient of the mean loss of these examples, times their share of the batch; that product."""
        with self.fabric.autocast():
            loss = self._mean_loss(places, table)
        if share != 1:
            loss = loss * share
        self.fabric.backward(loss)
        return loss.detach()

    def _mean_loss(self, places: Tensor, table: Tensor | None) -> Tensor:
        batch = self.fabric.to_device(self.examples.cut(places))
        if self.example_weights is None and table is None and not self.label_smoothing:
            loss: Tensor = self.model.loss(*batch)
            return loss
        return self._weighted_mean(self._losses(batch, table), places)

    def _losses(self, batch: ExampleBatch, table: Tensor | None) -> Tensor:
        given: dict[str, Any] = {} if table is None else {"table": table}
        if self.label_smoothing:
            given["label_smoothing"] = self.label_smoothing
        losses: Tensor = self.model.losses(*batch, **given)
        return losses

    def _weighted_mean(self, losses: Tensor, places: Tensor) -> Tensor:
        if self.example_weights is not None:
            losses = losses * self.example_weights[places].to(losses.device)
        return losses.mean()


class ResidentSteps(Steps):
    """The same steps on a data set that stays on the device: none copies from the host or waits for the device.

    Every batch of an epoch has as many clicks as its largest, so that no size depends on values; the clicks that are
    not there belong to no session. On a GPU a whole step is replayed as one CUDA graph, but for an epoch's last batch
    if it is smaller, for batches that are computed in parts, and where processes sum their gradients. Values are not
    checked: those of a data set were when it was made.
    """

    def __init__(
        self,
        fabric: Fabric,
        model: Any,
        optimizer: Any,
        examples: PrefixExamples,
        batch_size: int,
        most_clicks: int | None = None,
        example_weights: Tensor | None = None,
        gradient_clipping: float = 0.0,
        average: WeightAverage | None = None,
        gradient_sum: GradientSum | None = None,
        adaptive_clipping: float = 0.0,
        label_smoothing: float = 0.0,
    ) -> None:
        how = example_weights, gradient_clipping, average, gradient_sum, adaptive_clipping, label_smoothing
        super().__init__(fabric, model, optimizer, examples, batch_size, most_clicks, *how)
        self.examples = examples.to(fabric.device)
        if example_weights is not None:
            self.example_weights = example_weights.to(fabric.device)
        self.clicks = -1
        self.whole_step: Callable[[Tensor], Tensor] = self._whole_step

    def begin_epoch(self, order: Tensor) -> None:
        """See the base class."""
        self.order = order.to(self.fabric.device)
        self.parts: dict[int, list[int]] = {}  # of the batches of which this process has more than one
        largest = longest = 0
        for number, lengths in enumerate(self.lengths[order].split(self.batch_size)):
            own = self._own(lengths)
            sizes = parts(own, self.most_clicks)
            if len(sizes) > 1:
                self.parts[number] = sizes
                longest = max(longest, *(int(part.sum()) for part in own.split(sizes)))
            else:
                largest = max(largest, int(own.sum()))
        self.clicks_of_parts = -(-longest // CLICKS_UNIT) * CLICKS_UNIT
        clicks = -(-largest // CLICKS_UNIT) * CLICKS_UNIT
        if clicks != self.clicks:
            self.clicks = clicks
            recorded = self.order.is_cuda and not self.processes.is_group  # what processes exchange is not
            self.whole_step = Recorded(self._whole_step, self.order.device) if recorded else self._whole_step

    def take(self, number: int) -> Tensor:
        """See the base class."""
        places = self._places(number)
        own, examples = self._own(places), places.shape[0]
        if number in self.parts:
            return self._step_in_parts(own.split(self.parts[number]), examples)
        return self.whole_step(own) if examples == self.batch_size else self._step([own], examples)

    def _whole_step(self, own: Tensor) -> Tensor:
        return self._step([own], self.batch_size)

    def _step_in_parts(self, own: Sequence[Tensor], examples: int) -> Tensor:
        of_whole_batches, self.clicks = self.clicks, self.clicks_of_parts
        try:
            return self._step(own, examples)
        finally:
            self.clicks = of_whole_batches

    def _mean_loss(self, places: Tensor, table: Tensor | None) -> Tensor:
        return self._weighted_mean(self._losses(self.examples.cut(places, self.clicks), table), places)


class Recorded:
    """A function of a tensor on a GPU, recorded as a CUDA graph after some calls and replayed from then on.

    It must do the same work whatever the tensor's values, and ask for none of them. Recording runs nothing; the calls
    before it do, and make what is made once, such as the optimiser's state. Random numbers go on from replay to replay
    as they do from call to call.
    """

    def __init__(self, function: Callable[[Tensor], Tensor], device: torch.device) -> None:
        self._function = function
        self._stream = torch.cuda.Stream(device)
        self._calls = 0
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, value: Tensor) -> Tensor:
        """The function's result; in the same memory at every call once it is recorded."""
        if self._calls < CALLS_BEFORE_RECORDING:
            self._calls += 1
            return self._call_aside(value)
        if self._graph is None:
            self._record(value)
        self._argument.copy_(value)
        assert self._graph is not None
        self._graph.replay()
        return self._result

    def _call_aside(self, value: Tensor) -> Tensor:
        """Call on the stream that will record: gradients are added up on the stream that first did."""
        current = torch.cuda.current_stream(self._stream.device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            result = self._function(value)
        current.wait_stream(self._stream)
        return result

    def _record(self, value: Tensor) -> None:
        self._argument = torch.empty_like(value)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self._stream):
            self._result = self._function(self._argument)
        self._graph = graph


def can_be_resident(device: torch.device) -> bool:
    """Whether data sets stay on this device: a GPU that the native ops run on."""
    return device.type == "cuda" and library.has_kernel(torch.empty(0, device=device))


def make_optimizer(
    model: torch.nn.Module,
    weight_decay: float,
    device: torch.device,
    kind: Optimizer = "adam",
    decayed: Decayed = "all",
) -> torch.optim.Optimizer:
    """Adam or AdamW; where steps are recorded, its learning rate is a tensor, which a recording reads anew each time.

    Args:
        model: whose parameters it changes.
        weight_decay: of those that `decayed` says.
        device: of the model.
        kind: see :class:`~tagnn_fast.runs.configuration.TrainingConfig` for this and `decayed`.
        decayed: which parameters decay.
    """
    recorded = can_be_resident(device)
    rate = torch.tensor(1e-3, device=device) if recorded else 1e-3
    optimizer_class = torch.optim.AdamW if kind == "adamw" else torch.optim.Adam
    parameters = list(model.parameters())
    groups: list[dict[str, Any]] = [{"params": parameters, "weight_decay": weight_decay}]
    if decayed == "matrices":
        matrices = [value for value in parameters if value.dim() > 1]
        vectors = [value for value in parameters if value.dim() <= 1]
        groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return optimizer_class(groups, rate, fused=True, capturable=recorded)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of all parameters."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def begin_training(
    fabric: Fabric,
    model: SessionModel,
    options: TrainingConfig,
    examples: PrefixExamples,
    processes: Processes = ALONE,
) -> tuple[torch.optim.Optimizer, Steps]:
    """The optimiser of a model that is yet to be trained on these examples, and the steps.

    Args:
        fabric: the device and its precision; the model is taken there.
        model: learns the neighbours of items from the examples' sessions here, if it has such.
        options: of the training.
        examples: what is trained on.
        processes: that each take a share of each step.
    """
    model.learn_neighbours(*examples.clicks())
    how = options.optimizer, options.weight_decay_on
    optimizer = make_optimizer(model, options.weight_decay, fabric.device, *how)
    fabric_model, fabric_optimizer = fabric.setup(model, optimizer)
    for method in ("loss", "losses"):
        fabric_model.mark_forward_method(method)
    steps = (ResidentSteps if can_be_resident(fabric.device) else Steps)(
        fabric,
        fabric_model,
        fabric_optimizer,
        examples,
        options.batch_size,
        options.max_clicks_per_batch,
        weights_by_age(examples, options.example_half_life) if options.example_half_life else None,
        options.gradient_clipping,
        WeightAverage(model, options.weight_averaging) if options.weight_averaging else None,
        GradientSum(model, processes) if processes.is_group else None,
        options.adaptive_clipping,
        options.label_smoothing,
    )
    return optimizer, steps


@contextmanager
def matrix_precision(precision: str, device: torch.device) -> Iterator[None]:
    """Float32 products as `precision` names them, "high" or "medium"; put back afterwards.

    With "bf16-mixed" on a GPU, the kernels' own products take bfloat16, too; on the CPU, autocast says so.

    Raises:
        ValueError: where PyTorch's ``fp32_precision`` of a backend is set, beside which this is not to be.
    """
    if precision == "bf16-mixed" and device.type == "cuda":
        precision = "medium"
    if precision not in ("high", "medium"):
        yield
        return
    try:
        before = torch.get_float32_matmul_precision()
    except RuntimeError:
        raise ValueError(
            f"precision: expected {precision} to be all that is said of float32 products, got an fp32_precision of "
            "torch.backends, too"
        ) from None
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
