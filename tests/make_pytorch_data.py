"""Write tests/data/pytorch.safetensors: what PyTorch computes, for machines that have no PyTorch.

    python -m tests.make_pytorch_data

Inputs are stored as float32, which holds them exactly, and results as PyTorch has them in float64; the losses of the
published program as PyTorch has them in float32. Run it again when cases are added: the same PyTorch on the
same machine writes the same bytes.
"""

import json

import numpy as np
from safetensors.numpy import save_file

from tests import cases, checks
from tests.stored import PATH

# Every seventh case of the table; sums over large images are left to the live comparison, for the size of the file.
CASES = [case for case in cases.ALL[::7] if np.prod(case.x) < 2000]
OPTIMIZERS = [cases.OPTIMIZERS[k] for k in (0, 3, 5, 7, 11, 14)]
SCHEDULES = [(("SGD", dict(lr=0.1, momentum=0.9)), schedule) for schedule in cases.SCHEDULES]  # noqa: C408
STEPS = 10


def main():
    import torch

    arrays, description = {}, {"torch": torch.__version__, "cases": [], "optimizers": [], "schedules": []}
    for number, case in enumerate(CASES):
        description["cases"].append(case._asdict())
        numbers, results = checks.problem(case), checks.run_torch(case, np.float64)
        inputs = {"x": numbers.x, "targets": numbers.targets}
        inputs |= {f"params.{name}": array for name, array in numbers.params.items()}
        inputs |= {f"state.{name}": array for name, array in numbers.state.items()}
        if "y" in results:
            inputs["dy"] = checks.draw_dy(case, results["y"].shape)
        for name, array in inputs.items():
            if array is not None:
                arrays[f"cases.{number}.input.{name}"] = array if name == "targets" else np.float32(array)
        for name, array in results.items():
            arrays[f"cases.{number}.result.{name}"] = np.array(array)

    start, noise = checks.optimizer_problem(STEPS)
    for name, array in start.items():
        arrays[f"optimizers.start.{name}"] = np.float32(array)
        arrays[f"optimizers.noise.{name}"] = np.float32([shove[name] for shove in noise])
    for number, (name, kwargs) in enumerate(OPTIMIZERS):
        description["optimizers"].append([name, kwargs])
        arrays[f"optimizers.{number}.params"], _ = checks.optimize_torch(name, kwargs, np.float64, start, noise)
    start, noise = checks.optimizer_problem()
    for number, (optimizer, schedule) in enumerate(SCHEDULES):
        description["schedules"].append([optimizer, schedule])
        _, settings = checks.optimize_torch(*optimizer, np.float64, start, noise, schedule)
        arrays[f"schedules.{number}.settings"] = settings

    torch.manual_seed(0)
    weights = {name: tensor.numpy().copy() for name, tensor in checks.simplenet_torch().state_dict().items()}
    x, labels = torch.randn(10, 3, 32, 32).numpy(), torch.randint(10, (10,)).numpy()
    arrays |= {f"published.weights.{name}": array for name, array in weights.items()}
    arrays |= {"published.x": x, "published.labels": labels}
    arrays["published.losses"] = checks.train_torch(weights, x, labels, np.float32)

    # One key: the order of several would differ from run to run.
    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    save_file(arrays, PATH, metadata={"description": json.dumps(description)})
    print(f"{PATH}: {PATH.stat().st_size} bytes, {len(CASES)} cases, losses {arrays['published.losses']}")


if __name__ == "__main__":
    main()
