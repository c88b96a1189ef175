"""Trainer: the loop, and nothing else.

for each epoch:  for each batch:  forward, loss, backward, (clip,) step
"""

import copy
import json
import math
import signal
import threading
import time
from contextlib import contextmanager, nullcontext

import numpy as np

from minicnn.checks import DTYPES, as_count, as_int, require_entries
from minicnn.fusion import ConvBlocks
from minicnn.fusion import fuse as fused
from minicnn.network import statistics_kept_on_error
from minicnn.training.checkpoint import load_run, require_writable, save_run
from minicnn.training.progress import reporter

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
        monitor: a column of the history. Columns that end in "loss" are better when smaller, all others when larger;
            NaN is never better. "val_loss" unless given, or "loss" where `fit` gets no validation. Where it becomes
            another column, the best epoch is looked for anew.
        fuse: compute convolution, batchnorm and relu together (see `minicnn.fuse`), which is faster and the same up
            to rounding; with False every layer is on its own.
        checkpoint: path of a file that is written after each epoch, and where Ctrl-C stops the run.
        settings: a dict that JSON can hold: what else the run was begun with, such as its seed and its data. It is
            kept in the checkpoint, and `load` refuses the checkpoint of a run that was begun with others.
        record: path of a file where the steps are noted for the inspector's replay, or a `Recorder` that says more.
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
        settings=None,
        record=None,
        quiet=False,
    ):
        if schedule_every not in ("epoch", "batch"):
            raise ValueError(f'Trainer: expected schedule_every "epoch" or "batch", got {schedule_every!r}')
        if max_grad_norm is not None and not _as_float(max_grad_norm, "Trainer: max_grad_norm") > 0:
            raise ValueError(f"Trainer: expected max_grad_norm above 0, got {max_grad_norm}")
        if patience is not None and as_int(patience, "Trainer: patience", -math.inf) < 1:
            raise ValueError(f"Trainer: expected patience of at least 1 epoch, got {patience}")
        if checkpoint is not None:
            require_writable(checkpoint)
        for name, metric in dict(metrics or {}).items():
            if not (isinstance(name, str) and callable(metric)):
                raise TypeError(f"Trainer: expected functions by name as metrics, got {metric!r} as {name!r}")
        reserved = [name for name in metrics or () if name in RESERVED or name.startswith("val_")]
        if reserved:
            raise ValueError(f"Trainer: expected names of metrics that no other column has, got {', '.join(reserved)}")
        its_layers = {id(layer) for _, layer in network.named_layers()}
        if not its_layers.issuperset(id(layer) for _, layer, _ in optimizer.network.named_params()):
            raise ValueError("Trainer: expected an optimiser of this network or of layers of it, got another network's")
        if schedule is not None and getattr(schedule, "optimizer", optimizer) is not optimizer:
            raise ValueError("Trainer: expected a schedule of this optimiser, got another optimiser's")
        self.network, self.loss, self.optimizer = network, loss, optimizer
        if hasattr(loss, "ops"):  # a loss of one's own need have none
            loss.ops = network.ops
        self.computed = fused(network) if fuse else network
        self.schedule, self.schedule_every = schedule, schedule_every
        self.max_grad_norm = max_grad_norm
        self.metrics = {"accuracy": accuracy} if metrics is None else dict(metrics)
        self.patience, self.keep_best, self.monitor = patience, keep_best, monitor
        self.checkpoint, self.quiet = checkpoint, quiet
        try:
            self.settings = None if settings is None else json.loads(json.dumps(settings))  # as a file gives them back
        except (TypeError, ValueError) as error:
            raise TypeError(f"Trainer: expected settings that JSON can hold, got others: {error}") from error
        self.recorder = _as_recorder(record)
        self.epoch, self.history, self.interrupted = 0, [], False
        self._best = {"value": None, "epoch": 0}
        self._best_weights, self._best_monitor = {}, None  # and the column that `_best` is the best value of
        # The epoch under way: each column's sum over the images so far, and their number; time; last lr.
        self._sums, self._seconds, self._lr = {}, 0.0, optimizer.lr
        self._output = None
        self._said_what_is_fused = self._said_that_schedule_ended = False

    def step(self, x, y):
        """One batch: forward, loss, backward, update. Returns the loss before the update.

        Raises RuntimeError where the loss, the gradients or the new parameters are not finite, and what network, loss
        and optimiser raise; parameters, running statistics and optimiser are then as they were.
        """
        with statistics_kept_on_error(self.network):
            self._output = self.computed.forward(x)
            loss = self._finite_loss(self.loss.forward(self._output, y))
            self.computed.backward(self.loss.backward(), need_dx=False)
            self._clip_gradients()
            with self._finite_update(), self._recorded(loss):
                self.optimizer.step()
        return loss

    def _finite_loss(self, loss):
        """The loss as a float; raises RuntimeError where it is infinite or NaN."""
        loss = _as_float(loss, "Trainer: the loss")
        if not math.isfinite(loss):
            params = {name for name, _, _ in self.network.named_params()}
            lost = [name for name in self._infinite() if name in params]  # statistics have seen this batch
            already = f", but {', '.join(lost)} had been infinite or NaN already" if lost else ""
            raise RuntimeError(
                f"Trainer: the loss is {loss} {self._place()}; expected a finite number. Parameters are as before "
                f"this step{already}; look for NaN or huge values in the batch, or try a smaller learning rate or "
                "max_grad_norm"
            )
        return loss

    def _clip_gradients(self):
        """Scale the gradients down to `max_grad_norm`, if there is one; raises RuntimeError for an infinite norm."""
        if self.max_grad_norm is None:
            return
        norm = clip_gradients(self.network, self.max_grad_norm)
        if not math.isfinite(norm):
            raise RuntimeError(f"Trainer: expected gradients of a finite norm, got {norm} {self._place()}")

    def _recorded(self, loss):
        """A context in which the recorder, if there is one, watches the step."""
        if self.recorder is None:
            return nullcontext()
        return self.recorder.watching(self.network, self.optimizer, self.epoch + 1, loss)

    def _finite_update(self):
        """A context for an update that was seen to leave finite numbers; raises RuntimeError where it would not."""
        if self.optimizer.stays_finite(self._magnitude()):
            return nullcontext()
        self._require_finite_update()
        return np.errstate(all="ignore")  # what may overflow, as a square in Adam, was seen to do no harm

    def _infinite(self):
        """Names of the parameters and running statistics that have a number that is not finite."""
        return [name for name, array in self.network.state_dict().items() if not np.isfinite(array).all()]

    def _place(self):
        return f"at step {self.optimizer.steps + 1} (epoch {self.epoch + 1})"

    def _magnitude(self):
        """The norm of all gradients and running statistics together; infinite where they are not floats.

        Of arrays on a device it is 0, unseen: to fetch it would make every step wait for the device. There the next
        loss tells, and nothing infinite is saved.
        """
        square = 0.0
        for _, layer in self.network.named_layers():
            for arrays in (layer.grads, layer.state):
                for array in arrays.values():
                    array = layer.ops.asarray(array)
                    if not isinstance(array, np.ndarray):
                        return 0.0
                    if array.dtype in DTYPES:
                        # In the array's dtype: what overflows is infinite, and then looked at more closely.
                        square += float(np.vdot(array, array))
                    elif arrays is layer.grads:
                        return math.inf
        return math.sqrt(square)

    def _require_finite_update(self):
        """Raise RuntimeError where a number of the network would be infinite or NaN after the optimiser's step.

        The step is tried on copies: what would be wrong can only be seen when it is done.
        """
        trial, params = copy.copy(self.optimizer), list(self.optimizer.network.named_params())
        ops = {name: layer.ops for name, layer, _ in params}
        trial.state = {
            slot: {name: ops[name].copy(array) for name, array in of_params.items()}
            for slot, of_params in self.optimizer.state.items()
        }
        before = [layer.params[key] for _, layer, key in params]
        try:
            for (_, layer, key), param in zip(params, before, strict=True):
                layer.params[key] = layer.ops.copy(param)
            with np.errstate(all="ignore"):
                trial.step()
            wrong = self._infinite()
        finally:
            for (_, layer, key), param in zip(params, before, strict=True):
                layer.params[key] = param
        if wrong:
            grads = {name: layer.ops.to_numpy(layer.grads[key]) for name, layer, key in params}
            infinite = [name for name, grad in grads.items() if not np.isfinite(grad).all()]
            cause = f"so are the gradients of {', '.join(infinite)}" if infinite else "the gradients are finite"
            raise RuntimeError(
                f"Trainer: expected finite numbers after the update, got infinity or NaN in {', '.join(wrong)} "
                f"{self._place()}; {cause}. Everything is as before this step; look for huge values in the batch, or "
                "try a smaller learning rate or max_grad_norm"
            )

    def compile_kernels(self, report=None):
        """Make the kernels ready that training will need; `fit` does it by itself. See `minicnn.compile_kernels`."""
        dtypes = (layer.params[key].dtype for _, layer, key in self.network.named_params())
        files = {*self.computed.operations, "log_softmax", "losses", "optim"}
        if self.max_grad_norm is not None:
            files.add("arrays")
        if self.recorder is not None and self.recorder.image is not None:
            files.update(self.network.operations)  # the image passes through every layer on its own
        self.network.ops.compile_kernels(next(dtypes, "float32"), report, files)

    def evaluate(self, batches):
        """The loss and the metrics over `batches`, the network in evaluation mode, as a dict."""
        sums = {}
        for x, y in self.network.ops.prefetch(batches):
            output = self.computed.predict(x)
            self._add(sums, _as_float(self.loss.forward(output, y), "Trainer: the loss"), output, y)
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

        A schedule of so many steps (`OneCycleLR`) that has made them all stays at its last learning rate, where `train`
        gives more batches than it was made for; `train.batches_in(epochs)` says beforehand how many they are.

        Returns the history. Raises RuntimeError where the loss is not finite, or the network is in evaluation mode;
        ValueError where `train` or `validation` gives no batch, or epochs is below 0.
        """
        as_int(epochs, "Trainer.fit: epochs", 0)
        if not self.network.training:
            raise RuntimeError("Trainer.fit: the network is in evaluation mode; call network.train() first")
        self.interrupted = False
        columns = ["loss", *self.metrics]
        if validation is not None:
            columns += [f"val_{column}" for column in columns]
        monitor = self.monitor or ("loss" if validation is None else "val_loss")
        if monitor not in columns:
            raise ValueError(f"Trainer.fit: expected monitor to be one of {', '.join(columns)}, got {monitor!r}")
        if monitor != self._best_monitor:  # two columns cannot be compared
            self._best, self._best_weights, self._best_monitor = {"value": None, "epoch": self.epoch}, {}, monitor
        if self._sums and hasattr(train, "load_state_dict"):
            train.load_state_dict(train.state_dict())  # an epoch was begun: its next loop is the rest of it
        elif self._sums:
            self._sums, self._seconds = {}, 0.0
        with reporter(self.quiet) as report, _ctrl_c_noted() as ctrl_c:
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

    def _say_what_is_fused(self, report):
        blocks = [name for name, child in self.computed.children.items() if isinstance(child, ConvBlocks)]
        if blocks and not self._said_what_is_fused:
            names = ", ".join(name.replace("_to_", " to ") for name in blocks)
            report.says(f"fused: {names} (minicnn.fuse); with Trainer(fuse=False) every layer is on its own")
        self._said_what_is_fused = True

    def save(self, path, train=None):
        """Write the run to a file: network, optimiser, schedule, history, and where in `train` it stands.

        `train` is the `Batches` that `fit` is given; without it, or with another iterable, the order of the
        batches is not part of the file.

        Raises RuntimeError, and leaves a file that is there, where parameters or running statistics are not finite.
        """
        infinite = self._infinite()
        if infinite:
            raise RuntimeError(
                f"Trainer.save: expected finite numbers, got infinity or NaN in {', '.join(infinite)}; nothing was "
                "written, since such a run cannot go on"
            )
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
            "monitor": self._best_monitor,
            "optimizer": optimizer_numbers,
            "schedule": None if self.schedule is None else self.schedule.state_dict(),
            "batches": train.state_dict() if hasattr(train, "state_dict") else None,
            "settings": self.settings,
        }
        save_run(path, arrays, run)

    def load(self, path, train=None):
        """Go on with a saved run: with the same network, optimiser, schedule and `train`, to the same bits.

        The optimiser's settings (learning rate and so on) become those of the file.

        Raises FileNotFoundError; ValueError where the file, or the recording, is damaged or belongs to another
        network, optimiser, schedule or set of batches, or was begun with other `settings`. Nothing is changed then.
        """
        arrays, run = load_run(path)
        if self.settings is not None:
            _require_same_settings(path, run.get("settings"), self.settings)
        network_arrays, best_weights = _under("network/", arrays), _under("best/", arrays)
        optimizer_arrays = _under("optimizer/", arrays)
        self._require_run(run, f"Trainer.load: {path}")
        self._require_network(network_arrays, f"Trainer.load: {path}: network")
        if best_weights:
            self._require_network(best_weights, f"Trainer.load: {path}: weights of the best epoch")
        self.optimizer.checked_state(optimizer_arrays, run["optimizer"])
        recorder = self.recorder and self.recorder.resumed(self.network, run["optimizer"]["steps"])
        # Schedule and batches check their states themselves; should the second refuse, the first is put back.
        schedule_before = self.schedule and self.schedule.state_dict()
        settings_before = {name: getattr(self.optimizer, name) for name in self.optimizer.settings}
        try:
            if self.schedule is not None:
                self.schedule.load_state_dict(run["schedule"])
            if run["batches"] is not None and hasattr(train, "load_state_dict"):
                train.load_state_dict(run["batches"])
        except Exception:
            if self.schedule is not None:
                self.schedule.load_state_dict(schedule_before)
            for name, value in settings_before.items():
                setattr(self.optimizer, name, value)
            raise
        self.network.load_state_dict(network_arrays)
        self.optimizer.load_state_dict(optimizer_arrays, run["optimizer"])  # last: the schedule has set its lr
        self.epoch, self.history, self._best = run["epoch"], run["history"], run["best"]
        self._sums, self._seconds, self._lr = run["sums"], run["seconds"], run["lr"]
        self._best_weights, self.recorder = best_weights, recorder
        default = "val_loss" if self.history and "val_loss" in self.history[-1] else "loss"
        self._best_monitor = run.get("monitor", self.monitor or default)  # which older files do not say

    def _require_run(self, run, what):
        """Raise ValueError where the numbers of a checkpoint are not those of a run of this trainer."""
        names = ("epoch", "history", "sums", "seconds", "lr", "best", "optimizer", "schedule", "batches")
        require_entries(run, names, what)
        if (run["schedule"] is None) != (self.schedule is None):
            raise ValueError(f"{what} was saved {'without' if self.schedule else 'with'} a schedule")
        as_count(run["epoch"], f"{what}: epoch")
        for name in ("seconds", "lr"):
            _require_number(run[name], f"{what}: {name}", least=0)
        _require_best(run["best"], run["epoch"], f"{what}: best")
        if not isinstance(run.get("monitor"), (str, type(None))):
            raise ValueError(f"{what}: monitor: expected the name of a column, got {run['monitor']!r:.200}")
        _require_history(run["history"], self.metrics, f"{what}: history")
        if run["sums"] != {}:
            require_entries(run["sums"], ("loss", *self.metrics, IMAGES), f"{what}: sums")
            if len(run["sums"]) > len(self.metrics) + 2:
                raise ValueError(f"{what}: sums: expected no others than these, got {', '.join(run['sums'])}")
            for name in ("loss", *self.metrics):
                _require_number(run["sums"][name], f"{what}: sum of {name}")
            _require_number(as_count(run["sums"][IMAGES], f"{what}: {IMAGES}"), f"{what}: {IMAGES}", least=1)

    def _require_network(self, arrays, what):
        """Raise ValueError where `arrays` are not a whole state of the network, of finite numbers."""
        try:
            checked = self.network.checked_state(arrays)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{what}: {error}") from error
        missing = [name for name in self.network.state_dict() if name not in checked]
        if missing:
            raise ValueError(f"{what}: expected {', '.join(missing)}, got none")
        for name, array in checked.items():
            if not np.isfinite(array).all() or (array.dtype.kind == "i" and array.min() < 0):
                raise ValueError(f"{what}: {name}: expected finite numbers, and counters of at least 0, got others")

    def _train_epoch(self, train, report, ctrl_c):
        """The batches of one epoch, or what is left of it. Returns False where Ctrl-C came before its end."""
        started = time.perf_counter()
        report.epoch_begins(self.epoch + 1, len(train) if hasattr(train, "__len__") else None)
        complete = True
        for x, y in self.network.ops.prefetch(train):
            self._lr = self.optimizer.lr
            loss = self.step(x, y)
            self._add(self._sums, loss, self._output, y)
            if self.schedule is not None and self.schedule_every == "batch":
                self._move_schedule(report)
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
            self._move_schedule(report)

        if self._is_better(row[monitor], monitor):
            self._best = {"value": row[monitor], "epoch": self.epoch}
            if self.keep_best:
                self._best_weights = self.network.state_dict()

    def _is_better(self, value, monitor):
        best = self._best["value"]
        if best is None or math.isnan(best):
            return not math.isnan(value)
        return value < best if monitor.endswith("loss") else value > best

    def _move_schedule(self, report):
        """Move the schedule on. One that is at its end stays there: better than to lose the run in its last epoch."""
        total_steps = getattr(self.schedule, "total_steps", None)
        if total_steps is None or self.schedule.t < total_steps:
            self.schedule.step()
        elif not self._said_that_schedule_ended:
            self._said_that_schedule_ended = True
            report.says(
                f"{type(self.schedule).__name__} has made its {total_steps} steps, and there are more batches; "
                f"the learning rate stays at {self.optimizer.lr:.3g}"
            )

    def _add(self, sums, loss, output, y):
        """Add a batch's loss and metrics to `sums`, weighted by its number of images."""
        output = self.network.ops.to_numpy(output)
        values = {"loss": loss} | {
            name: _as_float(metric(output, y), f"Trainer: metric {name}") for name, metric in self.metrics.items()
        }
        for name, value in values.items():
            sums[name] = sums.get(name, 0.0) + value * len(output)
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


def _as_float(value, what):
    """A number of any library as a Python float."""
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.item()
    try:
        number = None if isinstance(value, (str, bytes)) else float(value)
    except (TypeError, ValueError):
        number = None
    if number is None:
        raise TypeError(f"{what}: expected a number, got {value!r:.200} of type {type(value).__name__}")
    return number


def _require_number(value, what, least=None):
    """Raise ValueError where `value`, read from a file, is no number; with `least` it must be finite and not below."""
    try:
        number = None if isinstance(value, bool) or not isinstance(value, (int, float)) else float(value)
    except OverflowError:  # an integer of more than 308 digits
        number = None
    if number is None or (least is not None and not least <= number < math.inf):
        raise ValueError(
            f"{what}: expected a number{'' if least is None else f' of at least {least}'}, got {value!r:.200}"
        )


def _require_best(best, epoch, what):
    require_entries(best, ("value", "epoch"), what)
    as_count(best["epoch"], f"{what}: epoch", epoch)
    if best["value"] is not None:
        _require_number(best["value"], f"{what}: value")


def _require_history(history, metrics, what):
    """Raise ValueError where it is no list of rows with numbers in our columns; other columns may hold anything."""
    if not isinstance(history, list):
        raise ValueError(f"{what}: expected a list, got {history!r:.200}")
    columns = {"epoch", "lr", "loss", "seconds", *metrics}
    for position, row in enumerate(history):
        require_entries(row, ("epoch", "lr", "loss", "seconds"), f"{what}: row {position}")
        for name in row:
            if name.removeprefix("val_") in columns:
                _require_number(row[name], f"{what}: row {position}: {name}")


def _require_same_settings(path, begun_with, settings):
    """Raise ValueError, which names each difference, unless a run was begun with these settings."""
    if not isinstance(begun_with, dict):
        raise ValueError(
            f"Trainer.load: expected a run that says what it was begun with, got {path}, which an older version of "
            "minicnn wrote, or a Trainer without settings; begin anew"
        )
    names = dict.fromkeys([*begun_with, *settings])
    different = [
        f"{name}: expected {begun_with.get(name)!s:.500}, got {settings.get(name)!s:.500}"
        for name in names
        if begun_with.get(name) != settings.get(name)
    ]
    if different:
        raise ValueError(
            f"Trainer.load: expected what the run in {path} was begun with, got something else.\n  "
            + "\n  ".join(different)
        )


def _as_recorder(record):
    """What `Trainer(record=…)` was given, a path or a `Recorder`, as a `Recorder`; None where nothing is recorded."""
    from minicnn.inspect import Recorder  # here, since the inspector stands above the trainer

    return record if record is None or isinstance(record, Recorder) else Recorder(record)


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
