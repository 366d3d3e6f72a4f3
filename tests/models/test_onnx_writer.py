"""Each operation as ONNX Runtime computes what was written, against torch's own run of the traced graph."""

import numpy as np
import onnxruntime
import pytest
import torch
from tests.models.test_evidence_graph import operations
from tests.small_networks import noise
from torch import nn

from pellucid.models.evidence_graph import trace_evidence, trace_input_gradients
from pellucid.models.onnx_file import FREE_IMAGES, onnx_program, onnx_program_by_torch
from pellucid.models.onnx_table import OPERATORS
from pellucid.models.onnx_writer import Unwritable, write_onnx

INPUTS = ("image", "target", "contrast")


class InPlace(nn.Module):
    """Sums and activations in place, on a tensor of its own."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        inner = values * 2
        inner += values
        return torch.relu_(inner)


class Rare(nn.Module):
    """An operation that is in torch's table and not in ours."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return torch.sinh(values)


class OverChannels(nn.Module):
    """A gate by a convolution over channels, as in ECA."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 1, 3, padding=1, bias=False)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        gate = torch.sigmoid(self.conv(values.mean((2, 3)).unsqueeze(1)))
        return values * gate.transpose(1, 2).unsqueeze(-1)


class Mixed(nn.Module):
    """Attention over cells, slices with steps, rolls and picks, as transformers with windows have them."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(6)
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)
        self.bias = nn.Parameter(torch.randn(9, 2))
        self.register_buffer("places", torch.arange(36).reshape(6, 6) % 9)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        cells = self.norm(values[:, :, :6, :6].permute(0, 2, 3, 1))
        rolled = torch.roll(cells, (-1, 1), (1, 2))
        merged = torch.cat([rolled[:, 0::2, 0::2], rolled[:, 1::2, 1::2]], -1)
        tokens = cells.flatten(1, 2)
        own = self.attention(tokens, tokens, tokens, need_weights=False)[0]
        table = self.bias[self.places.view(-1)].view(6, 6, 2).permute(2, 0, 1)
        return torch.cat([own.flatten(1), merged.flatten(1), table.sum().expand(own.shape[0], 1)], 1)


LEFT_TO_TORCH = {"adaptive max pooling"}
EVERY = [
    *(row for row in operations() if row[0] not in LEFT_TO_TORCH),
    ("in place", InPlace()),
    ("a convolution over channels", OverChannels()),
    ("attention and windows", Mixed()),
]


def compared(model: nn.Module, size: tuple[int, int]) -> None:
    """Write both graphs by the table alone, and compare them with torch for three images and two targets."""
    batch = torch.from_numpy(noise(3, size, seed=5))
    target = torch.eye(3)[:2].expand(3, 2, 3)
    asked = (batch, target, torch.tensor(1.0))
    model.requires_grad_(False)
    for names, (graph, _) in (
        (("logits", "activations", "gradients"), trace_evidence(model, model[0], size, 3)),
        (("logits", "gradients"), trace_input_gradients(model, size, 3)),
    ):
        written = write_onnx(graph, INPUTS, names, FREE_IMAGES, OPERATORS)
        session = onnxruntime.InferenceSession(written.SerializeToString())
        found = session.run(list(names), dict(zip(INPUTS, (t.numpy() for t in asked), strict=True)))
        for name, ours, theirs in zip(names, found, graph(*asked), strict=True):
            largest = max(1e-3, float(theirs.abs().max()))
            assert np.abs(ours - theirs.numpy()).max() <= 1e-5 * largest, name


@pytest.mark.parametrize(("name", "behind"), EVERY, ids=lambda v: v if isinstance(v, str) else "")
def test_onnx_runtime_computes_what_torch_does(name, behind):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 6, 2), behind, nn.Flatten(), nn.LazyLinear(3)).eval()
    model(torch.zeros(1, 3, 8, 8))
    compared(model, (8, 8))


def test_what_the_table_lacks_is_left_to_torch():
    torch.manual_seed(0)
    model = nn.Sequential(Rare(), nn.Conv2d(3, 6, 2), nn.Flatten(), nn.LazyLinear(3)).eval()
    model(torch.zeros(1, 3, 8, 8))
    graph, example = trace_evidence(model.requires_grad_(False), model[1], (8, 8), 3)
    names = ("logits", "activations", "gradients")
    with pytest.raises(Unwritable, match="sinh"):
        write_onnx(graph, INPUTS, names, FREE_IMAGES, OPERATORS)
    session = onnxruntime.InferenceSession(onnx_program(graph, example, INPUTS, names).SerializeToString())
    batch = noise(2, 8)
    asked = {"image": batch, "target": np.zeros((2, 1, 3), np.float32), "contrast": np.array(1, np.float32)}
    with torch.no_grad():
        expected = model(torch.from_numpy(batch)).numpy()
    assert np.abs(session.run(["logits"], asked)[0] - expected).max() < 1e-4


class Shuffled(nn.Module):
    """Takes and adds rows by indices of 32 bits, which torch allows and ONNX does not."""

    order: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("order", torch.tensor([2, 0, 1], dtype=torch.int32))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        rows = images.movedim(1, 0)[self.order]
        return torch.zeros_like(rows).index_put((self.order,), rows, accumulate=True)


def test_indices_of_32_bits_are_widened_by_way_of_torchs_exporter() -> None:
    module, images = Shuffled().eval(), torch.randn(2, 3, 4)
    graph = torch.export.export(module, (images,)).module()
    model = onnx_program_by_torch(graph, (images,), ("image",), ("rows",))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (rows,) = session.run(None, {"image": images.numpy()})
    np.testing.assert_allclose(rows, module(images).numpy(), rtol=1e-6)
