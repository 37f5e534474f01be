"""Right answers of start_here, written differently from the reference and from each other."""

import torch

RIGHT = {
    "std_of_sum": [torch.hypot, lambda a, b: (a.square() + b.square()) ** 0.5],
}
