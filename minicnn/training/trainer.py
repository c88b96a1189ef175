"""Trainer: the loop, and nothing else.

for each epoch:  for each batch:  forward, loss, backward, (clip,) step
"""

import threading
import time
from collections.abc import Iterable, Mapping, Sized
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from minicnn import fusion
from minicnn.backends.protocol import Report
from minicnn.checks import as_int
from minicnn.losses import Loss
from minicnn.network import Sequential, statistics_kept_on_error
from minicnn.optim import Optimizer
from minicnn.schedules import Schedule
from minicnn.training import saved_run
from minicnn.training.arguments import as_read_back, require_one_network, require_settings
from minicnn.training.clipping import clip_gradients
from minicnn.training.finite import finite_update, require_finite_loss, require_finite_norm
from minicnn.training.interrupt import ctrl_c_noted
from minicnn.training.metrics import Metric, accuracy, add_batch, as_float, means, monitored
from minicnn.training.progress import Reporter, reporter
from minicnn.training.run_state import History, RunState


class Trainer:
    """Trains a network on batches, keeps the history, and can save the run and go on with it later.

    Args:
        network, loss, optimizer: what is trained, on what, and how. The loss is moved to the network's backend.
        schedule: a schedule of `minicnn.schedules`, moved on after each epoch, or with
            `schedule_every="batch"` after each batch.
        max_grad_norm: scale the gradients down where their norm, over all parameters together, is larger.
        metrics: dict of functions (output, labels) -> float, each the mean over the images it is given; accuracy
            unless given. Their names become columns of the history.
        patience: stop where `monitor` has not improved for this many epochs.
        keep_best: at the end give the network the weights of the epoch with the best `monitor`.
        monitor: a column of the history. Columns that end in "loss" are better when smaller, all others when larger;
            NaN is never better. "val_loss" unless given, or "loss" where `fit` gets no validation. Where it becomes
            another column, the search for the best epoch starts again.
        fuse: compute convolution, batchnorm and relu together (see `minicnn.fuse`), which is faster and the same up
            to rounding; with False every layer is on its own.
        checkpoint: path of a file that is written after each epoch, and where Ctrl-C stops the run.
        settings: a dict that JSON can hold: what else the run was started with, such as its seed and its data. It is
            kept in the checkpoint, and `load` refuses the checkpoint of a run that was started with others.
        record: path of a file where the steps are recorded for the inspector's replay, or a `Recorder` that says more.
        quiet: show nothing.

    Attributes:
        epoch: how many epochs are complete.
        history: a list with a dict for each: "epoch" (from 1), "lr" (of its last step), "loss", the metrics, the
            same of the validation set with "val_" before them, and "seconds". The training columns are means
            over the epoch's batches, each batch measured before its step.
        interrupted: True where Ctrl-C ended the last `fit`.
        computed: the network that steps are computed with: `minicnn.fuse(network)`, of the same layers, or with
            fuse=False the network itself.

    Raises:
        TypeError: a setting of the wrong kind.
        ValueError: a setting out of range, or an optimiser or a schedule of something else.
        OSError: the checkpoint or the recording could not be written (said at once, not after the first epoch).
    """

    def __init__(
        self,
        network: Sequential,
        loss: Loss,
        optimizer: Optimizer,
        *,
        schedule: Schedule | None = None,
        schedule_every: str = "epoch",
        max_grad_norm: float | None = None,
        metrics: Mapping[str, Metric] | None = None,
        patience: int | None = None,
        keep_best: bool = False,
        monitor: str | None = None,
        fuse: bool = True,
        checkpoint: str | Path | None = None,
        settings: dict[str, Any] | None = None,
        record: Any = None,
        quiet: bool = False,
    ) -> None:
        require_settings(schedule_every, max_grad_norm, metrics, patience, checkpoint)
        require_one_network(network, optimizer, schedule)
        self.network, self.loss, self.optimizer = network, loss, optimizer
        if hasattr(loss, "ops"):  # a custom loss need not have it
            loss.ops = network.ops
        self.computed = fusion.fuse(network) if fuse else network
        self.schedule, self.schedule_every = schedule, schedule_every
        self.max_grad_norm = max_grad_norm
        self.metrics = {"accuracy": accuracy} if metrics is None else dict(metrics)
        self.patience, self.keep_best, self.monitor = patience, keep_best, monitor
        self.checkpoint, self.quiet = checkpoint, quiet
        self.settings = as_read_back(settings)
        self.recorder = _as_recorder(record)
        self.interrupted = False
        self._state = RunState(lr=optimizer.lr)
        self._output: Any = None  # of the last step, for the metrics
        self._said_what_is_fused = self._said_that_schedule_ended = False

    @property
    def epoch(self) -> int:
        return self._state.epoch

    @property
    def history(self) -> History:
        return self._state.history

    def step(self, x: Any, y: Any) -> float:
        """One batch: forward, loss, backward, update. Returns the loss before the update.

        Raises RuntimeError where the loss, the gradients or the new parameters are not finite, and what network, loss
        and optimiser raise; parameters, running statistics and optimiser are then as they were.
        """
        epoch = self._state.epoch + 1
        with statistics_kept_on_error(self.network):
            self._output = self.computed.forward(x)
            loss = as_float(self.loss.forward(self._output, y), "Trainer: the loss")
            require_finite_loss(loss, self.network, self.optimizer, epoch)
            self.computed.backward(self.loss.backward(), need_dx=False)
            if self.max_grad_norm is not None:
                require_finite_norm(clip_gradients(self.network, self.max_grad_norm), self.optimizer, epoch)
            with finite_update(self.network, self.optimizer, epoch), self._recorded(loss):
                self.optimizer.step()
        return loss

    def _recorded(self, loss: float) -> AbstractContextManager[object]:
        """A context in which the recorder, if there is one, watches the step."""
        if self.recorder is None:
            return nullcontext()
        return self.recorder.watching(self.network, self.optimizer, self.epoch + 1, loss)

    def compile_kernels(self, report: Report | None = None) -> None:
        """Make the kernels ready that training will need; `fit` does it by itself. See `minicnn.compile_kernels`."""
        dtypes = (layer.params[key].dtype for _, layer, key in self.network.named_params())
        files = {*self.computed.operations, "log_softmax", "losses", "optim"}
        if self.max_grad_norm is not None:
            files.add("arrays")
        if self.recorder is not None and self.recorder.image is not None:
            files.update(self.network.operations)  # the image passes through every layer on its own
        self.network.ops.compile_kernels(next(dtypes, "float32"), report, files)

    def evaluate(self, batches: Iterable[Any]) -> dict[str, float]:
        """The loss and the metrics over `batches`, the network in evaluation mode, as a dict."""
        sums: dict[str, float] = {}
        for x, y in self.network.ops.prefetch(batches):
            output = self.computed.predict(x)
            loss = as_float(self.loss.forward(output, y), "Trainer: the loss")
            add_batch(sums, self.metrics, loss, self.network.ops.to_numpy(output), y)
        if not sums:
            raise ValueError(
                "Trainer.evaluate: expected at least one batch, got none; a generator gives them only once"
            )
        return means(sums)

    def fit(self, train: Iterable[Any], validation: Iterable[Any] | None = None, epochs: int = 1) -> History:
        """Train for `epochs` more epochs on `train`, a `Batches` or any other iterable of (images, labels).

        An epoch that was started before the run was saved or stopped counts as the first of them. After each epoch
        the network is measured on `validation`, which is gone through each time (a list of batches, or a `Batches`).
        Ctrl-C ends the run after the step under way, with what was learnt and, if there is a checkpoint, saved; a
        second Ctrl-C ends it at once.

        A schedule of so many steps (`OneCycleLR`) that has made them all stays at its last learning rate, where `train`
        gives more batches than it was made for; `train.batches_in(epochs)` says beforehand how many they are.

        Returns the history. Raises RuntimeError where the loss is not finite, or the network is in evaluation mode;
        ValueError where `train` or `validation` gives no batch, or epochs is below 0.
        """
        as_int(epochs, "Trainer.fit: epochs", 0)
        if not self.network.training:
            raise RuntimeError("Trainer.fit: the network is in evaluation mode; call network.train() first")
        self.interrupted = False
        monitor, state = monitored(self.monitor, self.metrics, validation is not None), self._state
        state.watch(monitor)
        if state.sums and hasattr(train, "state_dict") and hasattr(train, "load_state_dict"):
            train.load_state_dict(train.state_dict())  # an epoch was started: its next loop is the rest of it
        elif state.sums:
            state.begin_epoch()
        with reporter(self.quiet) as report, ctrl_c_noted() as ctrl_c:
            self._say_what_is_fused(report)
            self.compile_kernels(report.compiling)
            if self.recorder is not None:
                self.recorder.prepare(self.network)
            for _ in range(epochs):
                try:
                    finished = self._train_epoch(train, report, ctrl_c)
                finally:  # a run that failed is worth looking at
                    if self.recorder is not None:
                        self.recorder.save()
                if finished:
                    self._end_epoch(validation, report, monitor)
                if self.checkpoint is not None:
                    self.save(self.checkpoint, train)
                if ctrl_c.is_set():
                    self.interrupted = True
                    report.message(
                        f"stopped by Ctrl-C after step {self.optimizer.steps}; the network keeps what it learnt"
                    )
                    break
                if self.patience is not None and state.epoch - state.best["epoch"] >= self.patience:
                    report.message(f"stopped: no better {monitor} for {self.patience} epochs")
                    break
            if self.keep_best and state.best_weights and not self.interrupted:
                self.network.load_state_dict(state.best_weights)
                report.message(f"kept the weights of epoch {state.best['epoch']}, {monitor} {state.best['value']:.4f}")
        return self.history

    def _say_what_is_fused(self, report: Reporter) -> None:
        blocks = [name for name, child in self.computed.children.items() if isinstance(child, fusion.ConvBlocks)]
        if blocks and not self._said_what_is_fused:
            names = ", ".join(name.replace("_to_", " to ") for name in blocks)
            report.message(f"fused: {names} (minicnn.fuse); with Trainer(fuse=False) every layer is on its own")
        self._said_what_is_fused = True

    def _train_epoch(self, train: Iterable[Any], report: Reporter, ctrl_c: threading.Event) -> bool:
        """The batches of one epoch, or what is left of it. Returns False where Ctrl-C came before its end."""
        started, state = time.perf_counter(), self._state
        report.epoch_begins(self.epoch + 1, len(train) if isinstance(train, Sized) else None)
        complete = True
        for x, y in self.network.ops.prefetch(train):
            state.lr = self.optimizer.lr
            loss = self.step(x, y)
            add_batch(state.sums, self.metrics, loss, self.network.ops.to_numpy(self._output), y)
            if self.schedule is not None and self.schedule_every == "batch":
                self._move_schedule(self.schedule, report)
            report.batch_ends(loss)
            if ctrl_c.is_set():
                complete = False
                break
        state.seconds += time.perf_counter() - started
        return complete

    def _end_epoch(self, validation: Iterable[Any] | None, report: Reporter, monitor: str) -> None:
        """Measure, write the history, move the schedule on, and see whether this epoch is the best so far."""
        state = self._state
        if not state.sums:
            raise ValueError("Trainer.fit: expected at least one batch in an epoch, got none; an iterator runs out")
        row: dict[str, Any] = {"epoch": state.epoch + 1, "lr": state.lr} | means(state.sums)
        if validation is not None:
            row |= {f"val_{name}": value for name, value in self.evaluate(validation).items()}
        row["seconds"] = state.seconds
        state.epoch += 1
        state.begin_epoch()
        state.history.append(row)
        report.epoch_ends(row)
        if self.schedule is not None and self.schedule_every == "epoch":
            self._move_schedule(self.schedule, report)
        if state.is_better(row[monitor], monitor):
            state.best = {"value": row[monitor], "epoch": state.epoch}
            if self.keep_best:
                state.best_weights = self.network.state_dict()

    def _move_schedule(self, schedule: Schedule, report: Reporter) -> None:
        """Move the schedule on. One that is at its end stays there: better than to lose the run in its last epoch."""
        total_steps = getattr(schedule, "total_steps", None)
        if total_steps is None or schedule.t < total_steps:
            schedule.step()
        elif not self._said_that_schedule_ended:
            self._said_that_schedule_ended = True
            report.message(
                f"{type(schedule).__name__} has made its {total_steps} steps, and there are more batches; "
                f"the learning rate stays at {self.optimizer.lr:.3g}"
            )

    def save(self, path: str | Path, train: Any = None) -> None:
        """Write the run to a file: network, optimiser, schedule, history, and where in `train` it stands.

        `train` is the `Batches` that `fit` is given; without it, or with another iterable, the order of the
        batches is not part of the file.

        Raises RuntimeError, and leaves a file that is there, where parameters or running statistics are not finite.
        """
        saved_run.write(path, self._state, self.network, self.optimizer, self.schedule, train, self.settings)

    def load(self, path: str | Path, train: Any = None) -> None:
        """Go on with a saved run: with the same network, optimiser, schedule and `train`, to the same bits.

        The optimiser's settings (learning rate and so on) become those of the file.

        Raises FileNotFoundError; ValueError where the file, or the recording, is damaged or belongs to another
        network, optimiser, schedule or set of batches, or was started with other `settings`. Nothing is changed then.
        """
        saved = saved_run.read(path, self.network, self.optimizer, self.schedule, self.metrics, self.settings)
        recorder = self.recorder and self.recorder.resumed(self.network, saved.numbers["optimizer"]["steps"])
        saved.restore(self.network, self.optimizer, self.schedule, train)
        self._state, self.recorder = saved.state(self.monitor), recorder


def _as_recorder(record: Any) -> Any:
    """What `Trainer(record=…)` was given, a path or a `Recorder`, as a `Recorder`; None where nothing is recorded."""
    from minicnn.inspect import Recorder  # here, since the inspector stands above the trainer

    return record if record is None or isinstance(record, Recorder) else Recorder(record)
