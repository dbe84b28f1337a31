"""Whisper's encoder: what was said, 50 vectors a second."""

from collections.abc import Mapping
from typing import cast

import torch
import torch.nn.functional as F  # noqa: N812  # the name it has everywhere
from torch import Tensor, nn

from duologue.models.mini_omni.nets.shapes import EncoderShape
from duologue.models.mini_omni.nets.window import Window


class Encoder(nn.Module):
    """The network. Make it with `encoder`. Its parts have the names that the checkpoint gives them."""

    def __init__(self, shape: EncoderShape) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(shape.bins, shape.width, 3, padding=1)
        self.conv2 = nn.Conv1d(shape.width, shape.width, 3, stride=2, padding=1)
        self.positional_embedding = nn.Parameter(torch.empty(shape.frames, shape.width))
        self.blocks = nn.ModuleList(_Block(shape) for _ in range(shape.layers))
        self.ln_post = nn.LayerNorm(shape.width)

    def forward(self, mel: Tensor, window: Window | None = None) -> Tensor:
        """Encode a log-mel, of which all is attended to, silence too.

        Args:
            mel: [B, bins, 2 T] of any precision, T at most the shape's frames.
            window: the positions that are computed, for all rows the same; None: those of the log-mel.

        Returns:
            [B, P, D]
        """
        if window:
            mel = mel[..., : window.mel]
        x = F.gelu(self.conv1(mel.to(self.conv1.weight.dtype)))
        x = F.gelu(self.conv2(x)).transpose(1, 2)
        bias = None
        if window:
            taken, positions, weights = (
                torch.from_numpy(array).to(x.device)
                for array in (window.taken, window.positions, window.weights)
            )
            x = x[:, taken] + self.positional_embedding[positions]
            bias = weights.to(x.dtype)[None, None, None]
        else:
            x = x + self.positional_embedding[: x.shape[1]]
        for block in self.blocks:
            x = block(x, bias)
        return cast(Tensor, self.ln_post(x))


def encoder(
    shape: EncoderShape,
    tensors: Mapping[str, Tensor],
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Encoder:
    """Build the network from a checkpoint's tensors, which it keeps if they fit as they are.

    Args:
        shape: of the checkpoint.
        tensors: by the original's names, those of `encoder.`; the decoder's are passed over.
        dtype: of the weights, and so of the computation.
        device: where it computes.
    """
    with torch.device("meta"):
        model = Encoder(shape)
    weights = {
        name.removeprefix("encoder."): tensor.to(device, dtype)
        for name, tensor in tensors.items()
        if name.startswith("encoder.")
    }
    model.load_state_dict(weights, assign=True)
    return model.eval().requires_grad_(False)


class _Block(nn.Module):
    def __init__(self, shape: EncoderShape) -> None:
        super().__init__()
        self.attn_ln = nn.LayerNorm(shape.width)
        self.attn = _Attention(shape)
        self.mlp_ln = nn.LayerNorm(shape.width)
        self.mlp = nn.Sequential(
            nn.Linear(shape.width, 4 * shape.width),
            nn.GELU(),
            nn.Linear(4 * shape.width, shape.width),
        )

    def forward(self, x: Tensor, bias: Tensor | None) -> Tensor:
        x = x + self.attn(self.attn_ln(x), bias)
        return cast(Tensor, x + self.mlp(self.mlp_ln(x)))


class _Attention(nn.Module):
    def __init__(self, shape: EncoderShape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.query = nn.Linear(shape.width, shape.width)
        self.key = nn.Linear(shape.width, shape.width, bias=False)
        self.value = nn.Linear(shape.width, shape.width)
        self.out = nn.Linear(shape.width, shape.width)

    def forward(self, x: Tensor, bias: Tensor | None) -> Tensor:
        query, key, value = (
            torch.unflatten(part(x), -1, (self.heads, -1)).transpose(1, 2)  # [B, H, T, D / H]
            for part in (self.query, self.key, self.value)
        )
        heard = F.scaled_dot_product_attention(query, key, value, bias)
        return cast(Tensor, self.out(heard.transpose(1, 2).flatten(2)))
