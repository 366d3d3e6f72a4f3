"""Which layer is explained when none is named: the last map that decides and that everything passes."""

import torch
from torch import nn

from pellucid.models.layer_choice import last_deciding_layer

SIZE = (16, 16)


class Block(nn.Module):
    """Attention and a perceptron, each beside a path that passes on what came."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.GELU())

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        own = self.norm1(tokens)
        tokens = tokens + self.attention(own, own, own, need_weights=False)[0]
        return tokens + self.mlp(self.norm2(tokens))


class Transformer(nn.Module):
    """Patches of 4 pixels, a class token, two registers, three blocks."""

    def __init__(self, answer: str, zero_head: bool = False) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, 4)
        self.others = nn.Parameter(torch.randn(1, 3, 8))
        self.blocks = nn.Sequential(*(Block(8) for _ in range(3)))
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 3)
        self.answer = answer
        if zero_head:
            nn.init.zeros_(self.head.weight)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        tokens = self.patches(image).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.others.expand(len(image), -1, -1), tokens], 1)
        tokens = self.norm(self.blocks(tokens))
        return self.head(tokens[:, 0] if self.answer == "class token" else tokens[:, 3:].mean(1))


def chosen(module: nn.Module, *skip: str) -> str | None:
    torch.manual_seed(0)
    module.eval().requires_grad_(False)
    before = {k: v.clone() for k, v in module.state_dict().items()}
    name = last_deciding_layer(module, SIZE, 3, dict.fromkeys(skip, True))
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())
    assert not any(m._forward_hooks for m in module.modules())
    return name


def test_behind_the_last_block_only_the_class_token_decides():
    assert chosen(Transformer("class token"), "blocks") == "blocks.1"


def test_where_all_tokens_are_averaged_the_last_norm_is_explained():
    assert chosen(Transformer("mean"), "blocks") == "norm"


def test_a_head_of_zeros_hides_nothing():
    assert chosen(Transformer("class token", zero_head=True), "blocks") == "blocks.1"
    assert chosen(Transformer("mean", zero_head=True), "blocks") == "norm"


class TwoStreams(nn.Module):
    """A block that passes on a coarse and a fine stream, as CrossViT's; the answer is that of both."""

    class Mixing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fine, self.coarse = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)

        def forward(self, streams: list[torch.Tensor]) -> list[torch.Tensor]:
            fine, coarse = streams
            return [torch.tanh(self.fine(fine)), torch.tanh(self.coarse(coarse))]

    def __init__(self) -> None:
        super().__init__()
        self.fine, self.coarse = nn.Conv2d(3, 4, 2, 2), nn.Conv2d(3, 4, 4, 4)
        self.mix, self.head = self.Mixing(), nn.Linear(8, 3)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        fine, coarse = self.mix([self.fine(image), self.coarse(image)])
        return self.head(torch.cat([fine.mean((2, 3)), coarse.mean((2, 3))], 1))


def test_a_layer_that_gives_two_streams_can_be_explained():
    assert chosen(TwoStreams()) == "mix"


class Branches(nn.Module):
    """What comes last is one of two branches, so that the map before both is explained."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.left, self.right = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3)
        self.head = nn.Linear(4, 3)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        stem = self.stem(image)
        return self.head((self.left(stem) * torch.sigmoid(self.right(stem))).mean((2, 3)))


def test_a_branch_is_no_layer_that_everything_passes():
    assert chosen(Branches()) == "stem"


def test_without_any_map_there_is_none():
    assert chosen(nn.Sequential(nn.Flatten(), nn.Linear(768, 3))) is None


class Remembering(nn.Module):
    """Keeps what it computed from its weights, as the attention of TinyViT and LeViT does in timm."""

    def __init__(self) -> None:
        super().__init__()
        self.biases = nn.Parameter(torch.zeros(4))
        self.convolution = nn.Conv2d(3, 4, 4, 4)
        self.head = nn.Linear(4, 3)
        self.kept: torch.Tensor | None = None

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        if self.kept is None:
            self.kept = self.biases[:, None, None] * 100
        logits: torch.Tensor = self.head(torch.relu(self.convolution(image) + self.kept).mean((2, 3)))
        return logits


def test_what_a_module_remembers_of_its_weights_is_not_changed() -> None:
    torch.manual_seed(0)
    network, images = Remembering().eval(), torch.randn(2, 3, *SIZE)
    assert last_deciding_layer(network, SIZE, 3, {}) is not None
    expected = Remembering().eval()
    expected.load_state_dict(network.state_dict())
    torch.testing.assert_close(network(images), expected(images), rtol=0, atol=0)
