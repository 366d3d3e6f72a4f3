"""What a traced graph is rid of changes none of its values, and what a mask needs stays."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import save
from torch import nn

from pellucid.bundle.io import model_session
from pellucid.models.evidence_graph import trace_forward
from pellucid.models.onnx_file import StoredWeights, onnx_program, save_beside

aten = torch.ops.aten
TOKENS, WIDTH = 5, 8


class Attention(nn.Module):
    """Attention over tokens (N, TOKENS, WIDTH), with `hidden` (TOKENS, TOKENS) added to its scores."""

    def __init__(self, hidden: torch.Tensor | None) -> None:
        super().__init__()
        self.hidden = hidden
        self.three = nn.Linear(WIDTH, 3 * WIDTH)

    def forward(self, tokens: torch.Tensor) -> tuple[torch.Tensor]:
        query, key, value = self.three(tokens).chunk(3, -1)
        return (nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=self.hidden),)


def hidden(first_row: float) -> torch.Tensor:
    mask = torch.zeros(TOKENS, TOKENS)
    mask[0] = first_row
    return mask


@pytest.mark.parametrize(
    ("mask", "kept"), [(None, 0), (hidden(-100.0), 0), (hidden(float("-inf")), 1)], ids=["none", "finite", "infinite"]
)
def test_only_rows_that_a_mask_can_hide_are_checked(mask, kept, tmp_path: Path):
    torch.manual_seed(0)
    model = Attention(mask).eval()
    graph, example = trace_forward(model, (TOKENS, WIDTH))
    operations = [node.target for node in graph.graph.nodes]
    assert operations.count(aten.where.self) == kept
    assert aten.expand.default not in operations or kept
    tokens = torch.randn(4, TOKENS, WIDTH)
    with torch.no_grad():
        expected = model(tokens)[0].numpy()
    program = onnx_program(graph, example, ("image",), ("answers",))
    weights = StoredWeights(save({k: v.clone() for k, v in model.state_dict().items()}))
    (tmp_path / "weights.safetensors").write_bytes(weights.content)
    save_beside(program, tmp_path / "model.onnx", weights)
    found = model_session(tmp_path / "model.onnx").run(None, {"image": tokens.numpy()})[0]
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_tensor_that_is_used_twice_is_stored_once(tmp_path: Path):
    """As a weight is, in a pass and in the pass back; one of the same bytes and another shape stays."""
    values = np.random.default_rng(0).standard_normal((32, 32)).astype(np.float32)
    tensors = [onnx.numpy_helper.from_array(values, name) for name in ("forward", "back")]
    tensors.append(onnx.numpy_helper.from_array(values.reshape(16, 64), "other"))
    nodes = [
        onnx.helper.make_node("MatMul", ["image", "forward"], ["there"]),
        onnx.helper.make_node("MatMul", ["there", "back"], ["twice"]),
        onnx.helper.make_node("ReduceSum", ["other"], ["sum"], keepdims=0),
        onnx.helper.make_node("Add", ["twice", "sum"], ["answers"]),
    ]
    info = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, ["n", 32]) for n in ("image", "answers")]
    graph = onnx.helper.make_graph(nodes, "graph", info[:1], info[1:], tensors)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)
    weights = StoredWeights(save({"weight": torch.tensor(values)}))
    (tmp_path / "weights.safetensors").write_bytes(weights.content)
    save_beside(model, tmp_path / "model.onnx", weights)
    kept = onnx.load(str(tmp_path / "model.onnx"), load_external_data=False).graph.initializer
    assert [t.name for t in kept] == ["forward", "other"]
    assert all(t.external_data for t in kept)
    image = np.ones((2, 32), np.float32)
    found = model_session(tmp_path / "model.onnx").run(None, {"image": image})[0]
    np.testing.assert_allclose(found, image @ values @ values + values.sum(), rtol=1e-4, atol=1e-3)
