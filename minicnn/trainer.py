"""Trainer: the loop, and nothing else.

for each epoch:  for each batch:  forward, loss, backward, (clip,) step
"""

import math
import signal
import threading
import time
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np

from minicnn.checkpoint import load_run, save_run
from minicnn.fusion import fuse as fused
from minicnn.inspect.recorder import Recorder
from minicnn.progress import reporter

IMAGES = "number of images"  # beside the columns' sums
RESERVED = ("epoch", "lr", "loss", "seconds", IMAGES)


def accuracy(output, labels):
    """The share of images whose largest output is that of their label."""
    return float(np.mean(output.argmax(axis=1) == labels))


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
        monitor: a column of the history. Columns that end in "loss" are better when smaller, all others when larger.
            "val_loss" unless given, or "loss" where `fit` gets no validation.
        fuse: compute convolution, batchnorm and relu together (see `minicnn.fuse`), which is faster and the same up
            to rounding; with False every layer is on its own.
        checkpoint: path of a file that is written after each epoch, and where Ctrl-C stops the run.
        record: path of a file where the steps are noted for the inspector's replay, or a `Recorder` that says more.
        quiet: show nothing.

    Attributes:
        epoch: how many epochs are complete.
        history: a list with a dict for each: "epoch" (from 1), "lr" (of its last step), "loss", the metrics, the
            same of the validation set with "val_" before them, and "seconds". The training columns are means
            over the epoch's batches, each batch measured before its step.
        interrupted: True where Ctrl-C ended the last `fit`.

    Raises:
        ValueError: a setting out of range.
        OSError: the checkpoint or the recording could not be written (said at once, not after the first epoch).
    """

    def __init__(
        self,
        network,
        loss,
        optimizer,
        *,
        schedule=None,
        schedule_every="epoch",
        max_grad_norm=None,
        metrics=None,
        patience=None,
        keep_best=False,
        monitor=None,
        fuse=True,
        checkpoint=None,
        record=None,
        quiet=False,
    ):
        if schedule_every not in ("epoch", "batch"):
            raise ValueError(f'Trainer: expected schedule_every "epoch" or "batch", got {schedule_every!r}')
        if max_grad_norm is not None and not max_grad_norm > 0:
            raise ValueError(f"Trainer: expected max_grad_norm above 0, got {max_grad_norm}")
        if patience is not None and patience < 1:
            raise ValueError(f"Trainer: expected patience of at least 1 epoch, got {patience}")
        if checkpoint is not None and not Path(checkpoint).resolve().parent.is_dir():
            raise FileNotFoundError(f"Trainer: no folder {Path(checkpoint).resolve().parent} for the checkpoint")
        reserved = [name for name in metrics or () if name in RESERVED or name.startswith("val_")]
        if reserved:
            raise ValueError(f"Trainer: expected names of metrics that no other column has, got {', '.join(reserved)}")
        self.network, self.loss, self.optimizer = network, loss, optimizer
        if hasattr(loss, "ops"):  # a loss of one's own need have none
            loss.ops = network.ops
        self._computed = fused(network) if fuse else network  # the same layers, maybe in blocks
        self.schedule, self.schedule_every = schedule, schedule_every
        self.max_grad_norm = max_grad_norm
        self.metrics = {"accuracy": accuracy} if metrics is None else dict(metrics)
        self.patience, self.keep_best, self.monitor = patience, keep_best, monitor
        self.checkpoint, self.quiet = checkpoint, quiet
        self.recorder = record if record is None or isinstance(record, Recorder) else Recorder(record)
        self.epoch, self.history, self.interrupted = 0, [], False
        self._best = {"value": None, "epoch": 0}
        self._best_weights = {}
        # The epoch under way: each column's sum over the images so far, and their number; time; last lr.
        self._sums, self._seconds, self._lr = {}, 0.0, optimizer.lr
        self._output = None

    def step(self, x, y):
        """One batch: forward, loss, backward, update. Returns the loss before the update.

        Raises RuntimeError where the loss is not finite, and what network and loss raise for a bad batch;
        parameters and running statistics are then as they were.
        """
        layers = [layer for _, layer in self.network.named_layers()]
        states = [{key: layer.ops.copy(array) for key, array in layer.state.items()} for layer in layers]
        try:
            self._output = self._computed.forward(x)
            loss = self.loss.forward(self._output, y)
            if not math.isfinite(loss):
                raise RuntimeError(
                    f"Trainer: the loss is {loss} at step {self.optimizer.steps + 1} (epoch {self.epoch + 1}); "
                    "expected a finite number. Parameters are as before this step; look for NaN or huge values in the "
                    "batch, or try a smaller learning rate or max_grad_norm"
                )
        except Exception:
            for layer, state in zip(layers, states, strict=True):
                layer.state.update(state)
            raise
        self._computed.backward(self.loss.backward(), need_dx=False)
        if self.max_grad_norm is not None:
            norm = clip_gradients(self.network, self.max_grad_norm)
            if not math.isfinite(norm):
                step = self.optimizer.steps + 1
                raise RuntimeError(f"Trainer: expected gradients of a finite norm, got {norm} at step {step}")
        watched = nullcontext()
        if self.recorder is not None:
            watched = self.recorder.watching(self.network, self.optimizer, self.epoch + 1, loss)
        with watched:
            self.optimizer.step()
        return loss

    def compile_kernels(self, report=None):
        """Make the kernels ready that training will need; `fit` does it by itself. See `minicnn.compile_kernels`."""
        dtypes = (layer.params[key].dtype for _, layer, key in self.network.named_params())
        files = {*self._computed.operations, "log_softmax", "losses", "optim"}
        if self.max_grad_norm is not None:
            files.add("arrays")
        if self.recorder is not None and self.recorder.image is not None:
            files.update(self.network.operations)  # the image passes through every layer on its own
        self.network.ops.compile_kernels(next(dtypes, "float32"), report, files)

    def evaluate(self, batches):
        """The loss and the metrics over `batches`, the network in evaluation mode, as a dict."""
        sums = {}
        for x, y in self.network.ops.sent_ahead(batches):
            output = self._computed.predict(x)
            self._add(sums, self.loss.forward(output, y), output, y)
        if not sums:
            raise ValueError(
                "Trainer.evaluate: expected at least one batch, got none; a generator gives them only once"
            )
        return _means(sums)

    def fit(self, train, validation=None, epochs=1):
        """Train for `epochs` more epochs on `train`, a `Batches` or any other iterable of (images, labels).

        An epoch that was begun before the run was saved or stopped counts as the first of them. After each epoch
        the network is measured on `validation`, which is gone through each time (a list of batches, or a `Batches`).
        Ctrl-C ends the run after the step under way, with what was learnt and, if there is a checkpoint, saved; a
        second Ctrl-C ends it at once.

        Returns the history. Raises RuntimeError where the loss is not finite, or the network is in evaluation mode;
        ValueError where `train` or `validation` gives no batch.
        """
        if not self.network.training:
            raise RuntimeError("Trainer.fit: the network is in evaluation mode; call network.train() first")
        self.interrupted = False
        columns = ["loss", *self.metrics]
        if validation is not None:
            columns += [f"val_{column}" for column in columns]
        monitor = self.monitor or ("loss" if validation is None else "val_loss")
        if monitor not in columns:
            raise ValueError(f"Trainer.fit: expected monitor to be one of {', '.join(columns)}, got {monitor!r}")
        if self._sums and hasattr(train, "load_state_dict"):
            train.load_state_dict(train.state_dict())  # an epoch was begun: its next loop is the rest of it
        elif self._sums:
            self._sums, self._seconds = {}, 0.0
        with reporter(self.quiet) as report, _ctrl_c_noted() as ctrl_c:
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
                    report.says(
                        f"stopped by Ctrl-C after step {self.optimizer.steps}; the network keeps what it learnt"
                    )
                    break
                if self.patience is not None and self.epoch - self._best["epoch"] >= self.patience:
                    report.says(f"stopped: no better {monitor} for {self.patience} epochs")
                    break
            if self.keep_best and self._best_weights and not self.interrupted:
                self.network.load_state_dict(self._best_weights)
                report.says(f"kept the weights of epoch {self._best['epoch']}, {monitor} {self._best['value']:.4f}")
        return self.history

    def save(self, path, train=None):
        """Write the run to a file: network, optimiser, schedule, history, and where in `train` it stands.

        `train` is the `Batches` that `fit` is given; without it, or with another iterable, the order of the
        batches is not part of the file.
        """
        arrays = {f"network/{name}": array for name, array in self.network.state_dict().items()}
        arrays |= {f"best/{name}": array for name, array in self._best_weights.items()}
        optimizer_arrays, optimizer_numbers = self.optimizer.state_dict()
        arrays |= {f"optimizer/{name}": array for name, array in optimizer_arrays.items()}
        run = {
            "epoch": self.epoch,
            "history": self.history,
            "sums": self._sums,
            "seconds": self._seconds,
            "lr": self._lr,
            "best": self._best,
            "optimizer": optimizer_numbers,
            "schedule": None if self.schedule is None else self.schedule.state_dict(),
            "batches": train.state_dict() if hasattr(train, "state_dict") else None,
        }
        save_run(path, arrays, run)

    def load(self, path, train=None):
        """Go on with a saved run: with the same network, optimiser, schedule and `train`, to the same bits.

        The optimiser's settings (learning rate and so on) become those of the file.

        Raises FileNotFoundError; ValueError where the file, or the recording, is damaged or belongs to another
        network, optimiser, schedule or set of batches. Nothing is changed then.
        """
        arrays, run = load_run(path)
        if (run["schedule"] is None) != (self.schedule is None):
            raise ValueError(f"Trainer.load: {path} was saved {'without' if self.schedule else 'with'} a schedule")
        before = self.network.state_dict(), self.optimizer.state_dict(), self.schedule and self.schedule.state_dict()
        try:
            self.network.load_state_dict(_under("network/", arrays))
            self.optimizer.load_state_dict(_under("optimizer/", arrays), run["optimizer"])
            if self.schedule is not None:
                self.schedule.load_state_dict(run["schedule"])
            recorder = self.recorder and self.recorder.resumed(self.network, self.optimizer.steps)
            if run["batches"] is not None and hasattr(train, "load_state_dict"):
                train.load_state_dict(run["batches"])
        except Exception:
            self.network.load_state_dict(before[0])
            self.optimizer.load_state_dict(*before[1])
            if self.schedule is not None:
                self.schedule.load_state_dict(before[2])
            raise
        self.epoch, self.history, self._best = run["epoch"], run["history"], run["best"]
        self._sums, self._seconds, self._lr = run["sums"], run["seconds"], run["lr"]
        self._best_weights, self.recorder = _under("best/", arrays), recorder

    def _train_epoch(self, train, report, ctrl_c):
        """The batches of one epoch, or what is left of it. Returns False where Ctrl-C came before its end."""
        started = time.perf_counter()
        report.epoch_begins(self.epoch + 1, len(train) if hasattr(train, "__len__") else None)
        complete = True
        for x, y in self.network.ops.sent_ahead(train):
            self._lr = self.optimizer.lr
            loss = self.step(x, y)
            self._add(self._sums, loss, self._output, y)
            if self.schedule is not None and self.schedule_every == "batch":
                self.schedule.step()
            report.batch_ends(loss)
            if ctrl_c.is_set():
                complete = False
                break
        self._seconds += time.perf_counter() - started
        return complete

    def _end_epoch(self, validation, report, monitor):
        """Measure, write the history, move the schedule on, and see whether this epoch is the best so far."""
        if not self._sums:
            raise ValueError("Trainer.fit: expected at least one batch in an epoch, got none; an iterator runs out")
        row = {"epoch": self.epoch + 1, "lr": self._lr} | _means(self._sums)
        if validation is not None:
            row |= {f"val_{name}": value for name, value in self.evaluate(validation).items()}
        row["seconds"] = self._seconds
        self.epoch += 1
        self._sums, self._seconds = {}, 0.0
        self.history.append(row)
        report.epoch_ends(row)
        if self.schedule is not None and self.schedule_every == "epoch":
            self.schedule.step()

        if self._is_better(row[monitor], monitor):
            self._best = {"value": row[monitor], "epoch": self.epoch}
            if self.keep_best:
                self._best_weights = self.network.state_dict()

    def _is_better(self, value, monitor):
        best = self._best["value"]
        if best is None or math.isnan(best):
            return True
        return value < best if monitor.endswith("loss") else value > best

    def _add(self, sums, loss, output, y):
        """Add a batch's loss and metrics to `sums`, weighted by its number of images."""
        output = self.network.ops.to_numpy(output)
        values = {"loss": loss} | {name: metric(output, y) for name, metric in self.metrics.items()}
        for name, value in values.items():
            sums[name] = sums.get(name, 0.0) + float(value) * len(output)
        sums[IMAGES] = sums.get(IMAGES, 0) + len(output)


def clip_gradients(network, max_norm):
    """Scale all gradients by one factor so that their norm is at most `max_norm`; returns the norm before.

        norm = sqrt(sum of all squares)               factor = min(1, max_norm / (norm + 1e-6))

    `torch.nn.utils.clip_grad_norm_`'s rule and numbers. Raises RuntimeError where a parameter has no gradient yet.
    """
    without = [name for name, layer, key in network.named_params() if key not in layer.grads]
    if without:
        raise RuntimeError(f"clip_gradients: no gradient for {', '.join(without)}; call backward first")
    grads = [(layer.ops, layer.grads[key]) for _, layer, key in network.named_params()]
    # learn: the norm of all gradients as one long vector
    norm = math.sqrt(sum(ops.sum_of_squares(grad) for ops, grad in grads))
    # learn: the factor that brings it down to max_norm
    factor = max_norm / (norm + 1e-6)
    if factor < 1:
        for ops, grad in grads:
            ops.scale_(grad, factor)
    return norm


def _means(sums):
    return {name: value / sums[IMAGES] for name, value in sums.items() if name != IMAGES}


def _under(prefix, arrays):
    """The arrays whose names begin with `prefix`, by the rest of their names."""
    return {name[len(prefix) :]: array for name, array in arrays.items() if name.startswith(prefix)}


@contextmanager
def _ctrl_c_noted():
    """Within, the first Ctrl-C sets the event that is handed out, and the second interrupts as usual.

    So a step is never torn in two. Signals reach the main thread only; elsewhere the event is never set.
    """
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return

    def note(*_):
        event.set()
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, before)
