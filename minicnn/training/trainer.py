"""Trainer: the loop, and nothing else.

for each epoch:  for each batch:  forward, loss, backward, (clip,) step
"""

import time
from collections.abc import Iterable, Mapping, Sized
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from minicnn.backends.protocol import Report
from minicnn.checks import as_int
from minicnn.layers.base import statistics_kept_on_error
from minicnn.losses import Loss
from minicnn.network import Sequential
from minicnn.optim import Optimizer
from minicnn.schedules import Schedule
from minicnn.training import saved_run
from minicnn.training.arguments import as_read_back, as_recorder, require_mode, require_one_network, require_settings
from minicnn.training.callbacks import Callback, as_callbacks, call_back
from minicnn.training.clipping import clip_gradients
from minicnn.training.finite import finite_update, require_finite_loss, require_finite_norm
from minicnn.training.fit_arguments import as_batches, require_finite_input, require_learnable
from minicnn.training.group import Group
from minicnn.training.interrupt import Stop, signals_noted
from minicnn.training.kernels import compile_for
from minicnn.training.metrics import Metric, accuracy, add_batch, as_float, counted, means, monitored
from minicnn.training.once import Once, move_on, what_is_fused
from minicnn.training.progress import Reporter, reporter
from minicnn.training.run_state import History, RunState


class Trainer:
    """Trains a network on batches, keeps the history, and can save the run and go on with it later.

    Args:
        network, loss, optimizer: what is trained, on what, and how. The loss is moved to the network's backend.
        schedule: a schedule of `minicnn.schedules`, moved on after each epoch, or with
            `schedule_every="batch"` after each batch.
        max_grad_norm: scale the gradients down where their norm, over all parameters together, is larger.
        metrics: dict of functions (output, labels) -> float, each the mean over the images it is given, which are
            those that the loss counts; accuracy unless given. Their names become columns of the history.
        patience: stop where `monitor` has not improved for this many epochs.
        keep_best: at the end give the network the weights of the epoch with the best `monitor`.
        monitor: a column of the history. Columns that end in "loss" are better when smaller, all others when larger;
            NaN is never better. "val_loss" unless given, or "loss" where `fit` gets no validation. Where it becomes
            another column, the search for the best epoch starts again.
        fuse: compute convolution, batchnorm and relu together (see `minicnn.fuse`), which is faster and the same up
            to rounding; with False every layer is on its own.
        checkpoint: path of a file that is written after each epoch, and where Ctrl-C or SIGTERM stops the run.
        settings: a dict that JSON can hold: what else the run was started with, such as its seed and its data. It is
            kept in the checkpoint, and `load` refuses the checkpoint of a run that was started with others.
        record: path of a file where the steps are recorded for the inspector's replay, or a `Recorder` that says more.
        group: the processes that train together, `minicnn.distributed.world()`. Each runs the same program with the
            same arguments and batches, and computes its share; the first alone shows, saves, records and calls back.
        quiet: show nothing.
        callbacks: functions (trainer, event, values), called after each step ("step": its number, epoch, lr, loss) and
            after each epoch ("epoch": its row of the history, and the number of the step); `stop` ends the run.

    Attributes:
        epoch: how many epochs are complete.
        history: a list with a dict for each: "epoch" (from 1), "lr" (of its last step), "loss", the metrics, the
            same of the validation set with `"val_"` before them, and "seconds". The training columns are means
            over the epoch's batches, each batch measured before its step.
        interrupted: True where Ctrl-C or SIGTERM ended the last `fit`.
        computed: what steps are computed with: `minicnn.fuse(network)`, or with fuse=False the network itself.

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
        callbacks: Iterable[Callback] = (),
        group: Group | None = None,
    ) -> None:
        self.group = group or Group()
        self.group.first(lambda: require_settings(schedule_every, max_grad_norm, metrics, patience, checkpoint))
        require_one_network(network, optimizer, schedule, schedule_every)
        self.network, self.loss, self.optimizer = network, loss, optimizer
        if hasattr(loss, "ops"):  # a custom loss need not have it
            loss.ops = network.ops
        self.computed = self.group.spread(network, fuse)
        self.schedule, self.schedule_every = schedule, schedule_every
        self.max_grad_norm = max_grad_norm
        self.metrics = {"accuracy": accuracy} if metrics is None else dict(metrics)
        self.patience, self.keep_best, self.monitor = patience, keep_best, monitor
        self.checkpoint, self.quiet = checkpoint, quiet
        self.settings = as_read_back(settings)
        self.recorder = as_recorder(record if self.group.rank == 0 else None)
        self._state = RunState(lr=optimizer.lr)
        self._output: Any = None  # of the last step, for the metrics
        self._once, self._stop = Once(), Stop()
        self.callbacks = as_callbacks(callbacks if self.group.rank == 0 else ())
        self.interrupted = False
        self.group.begin_equal(self)

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
        changing = self.network, self.optimizer
        with statistics_kept_on_error(layer for _, layer in self.network.named_layers()):
            self._output = self.computed.forward(x)
            loss = as_float(self.loss.forward(self._output, y), "Trainer: the loss")
            require_finite_loss(loss, *changing, epoch)
            self.computed.backward(self.loss.backward(), need_dx=False)
            if self.max_grad_norm is not None:
                require_finite_norm(clip_gradients(self.network, self.max_grad_norm), self.optimizer, epoch)
            recorded = nullcontext() if self.recorder is None else self.recorder.watching(*changing, epoch, loss)
            with finite_update(*changing, epoch), recorded:
                self.optimizer.step()
        return loss

    def compile_kernels(self, report: Report | None = None) -> None:
        """Make the kernels ready that training will need; `fit` does it by itself. See `minicnn.compile_kernels`."""
        compile_for(self.network, self.computed, self.max_grad_norm is not None, self.recorder, report)

    def evaluate(self, batches: Iterable[Any]) -> dict[str, float]:
        """The loss and the metrics over `batches`, in evaluation mode. Raises ValueError for images with NaN."""
        sums: dict[str, float] = {}
        for x, y in self.group.batches(self.network.ops, batches):
            output = self.computed.predict(x)
            loss = as_float(self.loss.forward(output, y), "Trainer: the loss")
            require_finite_input(loss, x, "Trainer.evaluate")
            add_batch(sums, self.metrics, loss, *counted(self.loss, self.network.ops.to_numpy(output), y))
        return means(sums, "Trainer.evaluate")

    def fit(
        self,
        train: Any,
        labels: Any = None,
        epochs: int = 1,
        *,
        validation: Any = None,
        batch_size: int | None = None,
        rng: np.random.Generator | int | None = None,
    ) -> History:
        """Train for `epochs` more epochs: `fit(images, labels)`, or `fit(batches)`.

        An epoch that was started before the run was saved or stopped counts as the first of them. After each epoch
        the network is measured on `validation`. Ctrl-C, or SIGTERM, ends the run after the step under way, with what
        was learnt and, if there is a checkpoint, saved; a second one ends it at once.

        Args:
            train: images, an array (N, C, H, W), `Images` or a list of arrays (C, H, W), which come in a new order in
                each epoch; `LabelledImages`; or a `Batches` or any other iterable of (images, labels).
            labels: of images, (N,) integers. With batches this is the place of `validation`.
            validation: (images, labels), `LabelledImages`, or batches, gone through after each epoch.
            batch_size: of images, 32 unless given.
            rng: a Generator or a seed for the order of images; needed to repeat a run. To resume one in the middle of
                an epoch, give a `Batches`.

        Returns the history. Raises RuntimeError where the loss is not finite, or the network is in evaluation mode;
        TypeError or ValueError, before the first epoch, for images or labels that cannot be learnt from, and where
        `train` or `validation` gives no batch, or epochs is below 0.
        """
        given, (train, validation) = train, as_batches(train, labels, validation, batch_size, rng)
        as_int(epochs, "Trainer.fit: epochs", 0)
        if not self.network.training:
            raise RuntimeError("Trainer.fit: the network is in evaluation mode; call network.train() first")
        self.interrupted = False
        monitor, state = monitored(self.monitor, self.metrics, validation is not None), self._state
        require_mode(self.schedule, monitor)
        state.watch(monitor)
        if state.sums and train is given and hasattr(train, "state_dict") and hasattr(train, "load_state_dict"):
            train.load_state_dict(train.state_dict())  # an epoch was started: its next loop is the rest of it
        elif state.sums:
            state.begin_epoch()
        self.group.require_equal(self, train, validation, epochs)
        with reporter(self.quiet or self.group.rank > 0) as report, signals_noted(self._stop) as ctrl_c:
            self._once.say(report, what_is_fused(self.computed))
            self.compile_kernels(report.compiling)
            require_learnable(self.computed, self.loss, train, validation)
            if self.recorder is not None:
                self.recorder.prepare(self.network)
            report.run_begins(self.epoch + 1, self.epoch + epochs)
            for _ in range(epochs):
                try:
                    finished = self.group.persist(lambda: self._train_epoch(train, report, ctrl_c), train)
                finally:  # a run that failed is worth looking at
                    if self.recorder is not None:
                        self.recorder.save()
                if finished:
                    self._end_epoch(validation, report, monitor)
                if self.checkpoint is not None:
                    self.save(self.checkpoint, train)
                if self.group.stopping(ctrl_c):
                    self.interrupted = ctrl_c.from_outside or not ctrl_c.is_set()  # or a signal reached another process
                    after = f"after step {self.optimizer.steps}; the network keeps what it learnt"
                    report.message(f"stopped by {ctrl_c.by or 'another process'} {after}")
                    break
                if self.patience is not None and state.epoch - state.best["epoch"] >= self.patience:
                    report.message(f"stopped: no better {monitor} for {self.patience} epochs")
                    break
            if self.keep_best and state.best_weights and not self.interrupted:
                self.network.load_state_dict(state.best_weights)
                report.message(f"kept the weights of epoch {state.best['epoch']}, {monitor} {state.best['value']:.4f}")
        return self.history

    def _train_epoch(self, train: Iterable[Any], report: Reporter, ctrl_c: Stop) -> bool:
        """The batches of one epoch, or what is left of it. Returns False where it was stopped before its end."""
        started, state = time.perf_counter(), self._state
        report.epoch_begins(self.epoch + 1, len(train) if isinstance(train, Sized) else None)
        complete = True
        for x, y in self.group.batches(self.network.ops, train, ctrl_c):
            state.lr = self.optimizer.lr
            loss = self.step(x, y)
            add_batch(state.sums, self.metrics, loss, *counted(self.loss, self.network.ops.to_numpy(self._output), y))
            if self.schedule is not None and self.schedule_every == "batch":
                self._once.say(report, move_on(self.schedule))
            report.batch_ends(loss)
            if self.callbacks:
                call_back(self, "step", {"epoch": self.epoch + 1, "lr": state.lr, "loss": loss})
            if self.group.stopping(ctrl_c):
                complete = False
                break
        state.seconds += time.perf_counter() - started
        return complete

    def _end_epoch(self, validation: Iterable[Any] | None, report: Reporter, monitor: str) -> None:
        """Measure, write the history, move the schedule on, and see whether this epoch is the best so far."""
        state = self._state
        row: dict[str, Any] = {"epoch": state.epoch + 1, "lr": state.lr} | means(state.sums, "Trainer.fit")
        if validation is not None:
            measured = self.group.persist(lambda: self.evaluate(report.validating(validation)))
            row |= {f"val_{name}": value for name, value in measured.items()}
        row["seconds"] = state.seconds
        state.epoch += 1
        state.begin_epoch()
        state.history.append(row)
        report.epoch_ends(row)
        if self.schedule is not None and self.schedule_every == "epoch":
            self._once.say(report, move_on(self.schedule, row[monitor]))
        if state.is_better(row[monitor], monitor):
            state.best = {"value": row[monitor], "epoch": state.epoch}
            if self.keep_best:
                state.best_weights = self.network.state_dict()
        call_back(self, "epoch", row)

    def stop(self) -> None:
        """End the `fit` under way after this step, as a callback may ask."""
        self._stop.by = "a callback"

    def save(self, path: str | Path, train: Any = None) -> None:
        """Write the run to a file: network, optimiser, schedule, history, and where in `train` it stands.

        `train` is the `Batches` that `fit` is given; without it, or with another iterable, the order of the
        batches is not part of the file.

        Raises RuntimeError, and leaves a file that is there, where parameters or running statistics are not finite.
        """
        run = (self._state, self.network, self.optimizer, self.schedule, train, self.settings, self.callbacks)
        self.group.persist(lambda: self.group.first(lambda: saved_run.write(path, *run)))

    def load(self, path: str | Path, train: Any = None) -> None:
        """Go on with a saved run: with the same network, optimiser, schedule, callbacks, `train`, to the same bits.
        The optimiser's settings (learning rate and so on) become those of the file.

        Raises FileNotFoundError; ValueError where the file, or the recording, is damaged or belongs to another
        network, optimiser, schedule, EMA or batches, or was begun with other `settings`. Nothing is changed then.
        """
        run = (self.network, self.optimizer, self.schedule, self.metrics, self.settings)
        callbacks = self.callbacks if self.group.rank == 0 else None
        saved = self.group.all(lambda: saved_run.read(path, *run, callbacks))
        recorder = self.recorder and self.recorder.resumed(self.network, saved.numbers["optimizer"]["steps"])
        saved.restore(self.network, self.optimizer, self.schedule, train, self.callbacks)
        self._state, self.recorder = saved.state(self.monitor), recorder
