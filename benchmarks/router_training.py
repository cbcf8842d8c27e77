"""One forward pass a prompt for all its pairs, against one forward pass a pair: loss, time and memory.

M teachers make M(M-1)/2 pairs, 171 for the paper's 19; all are differences of the same M coefficients. The memory
counted is what the backward pass keeps of the forward pass, summed over the tensors that autograd saves.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from transformers import BertConfig, BertModel

from persyn.router.finetune import bradley_terry_loss
from persyn.router.model import RouterModel
from persyn.router.preferences import incidence, pairs


def cost(model: RouterModel, loss: Callable[[], Tensor]) -> tuple[float, float, int]:
    """Loss, seconds and bytes of one forward and backward pass."""
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    model.zero_grad()
    started = time.perf_counter()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        value = loss()
    value.backward()
    return float(value.detach()), time.perf_counter() - started, sum(kept.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--teachers", type=int, default=19)
    parser.add_argument("--prompts", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    torch.manual_seed(0)
    backbone = BertModel(BertConfig(vocab_size=1000, hidden_size=128, intermediate_size=512, num_hidden_layers=2,
                                    num_attention_heads=2)).eval()  # fmt: skip
    model = RouterModel(backbone, pooling="mean", n_teachers=args.teachers, frozen=False)
    torch.nn.init.normal_(model.head.weight)
    ids = torch.randint(1000, (args.prompts, args.tokens))
    mask = torch.ones_like(ids)
    known = pairs(np.random.default_rng(0).normal(size=(args.prompts, args.teachers)))
    target, weight = torch.from_numpy(known.target).float(), torch.from_numpy(known.weight).float()
    z = torch.from_numpy(incidence(args.teachers)).float()
    pairs_each = len(z)

    def together() -> Tensor:
        return bradley_terry_loss(model(ids, mask), target, weight) / weight.sum()

    def one_by_one() -> Tensor:
        coefficients = model(ids.repeat_interleave(pairs_each, 0), mask.repeat_interleave(pairs_each, 0))
        lead = (coefficients * z.repeat(args.prompts, 1)).sum(dim=1)
        return torch.nn.functional.binary_cross_entropy_with_logits(lead, target.ravel(), weight.ravel())

    runs = [(cost(model, together), cost(model, one_by_one)) for _ in range(args.repeats + 1)][1:]
    difference = max(abs(one[0] - other[0]) for one, other in runs)
    if difference > 1e-6:
        raise SystemExit(f"the losses differ by {difference:.2g}")
    seconds, memory = statistics.median(b[1] / a[1] for a, b in runs), statistics.median(b[2] / a[2] for a, b in runs)
    print(f"{args.prompts} prompts x {args.tokens} tokens, {args.teachers} teachers, {pairs_each} pairs a prompt")
    print(f"losses differ by {difference:.1e}; a pass per pair takes {seconds:.0f}x the time, {memory:.0f}x the memory")


if __name__ == "__main__":
    main()
