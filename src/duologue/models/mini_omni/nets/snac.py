"""SNAC's decoder: sound from codes, exactly the same whether it is streamed or not."""

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from duologue.audio import Samples
from duologue.models.mini_omni.nets import snac_stream
from duologue.models.mini_omni.nets.shapes import SnacShape
from duologue.models.mini_omni.nets.snac_stream import (
    DILATIONS,
    KERNEL,
    LATENTS,
    Codes,
    Floats,
    Plan,
)


class SnacDecoder(nn.Module):
    """The network. Make it with `snac_decoder`. Its parts have the names that the checkpoint gives them."""

    def __init__(self, shape: SnacShape) -> None:
        super().__init__()
        self.plan = snac_stream.plan(shape)
        self.quantizer = _Quantizer(shape)
        self.decoder = _Layers(shape)
        self._clocks: dict[int, list[Tensor]] = {}  # by latents of a call

    def forward(
        self, codes: Tensor, noise: Sequence[Tensor], state: Tensor, mask: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Go on with B streams.

        Args:
            codes: [B, latents, levels]
            noise: [B, T] of each block.
            state: [B, S]
            mask: [B, M]: zero where a step is before the beginning or after the end; None: nowhere.

        Returns:
            [B, T] samples and the state that follows.
        """
        memory = _Memory(self.plan, state, mask)
        samples = self.decoder(self.quantizer(codes), noise, memory)
        return samples, memory.state()

    @torch.inference_mode()
    def step(
        self,
        codes: Codes,
        noise: Sequence[Floats],
        spans: NDArray[np.int64] | None,
        states: Sequence[object],
    ) -> tuple[Samples, Sequence[Tensor]]:
        """Compute one call, as `snac_stream.Decoder` has it; the states stay on the device."""
        like = next(self.parameters())
        fresh = like.new_zeros(self.plan.state)
        samples, state = self(
            torch.from_numpy(codes).to(like.device),
            [torch.from_numpy(breath).to(like) for breath in noise],
            torch.stack([fresh if known is None else cast(Tensor, known) for known in states]),
            None if spans is None else self._mask(spans, codes.shape[1]).to(like),
        )
        return samples.float().cpu().numpy(), state.unbind()

    def _mask(self, spans: NDArray[np.int64], latents: int) -> Tensor:
        device = next(self.parameters()).device
        if latents not in self._clocks:
            clock = self.plan.clock(latents // LATENTS)
            self._clocks[latents] = [torch.from_numpy(part).to(device) for part in clock]
        rates, times = self._clocks[latents]
        now, end = torch.from_numpy(spans).to(device).unsqueeze(2).unbind(1)
        when = now * rates + times
        return (when >= 0) & (when < end * rates)


def snac_decoder(
    shape: SnacShape, tensors: Mapping[str, NDArray[np.generic]], device: torch.device | str = "cpu"
) -> SnacDecoder:
    """Build the network from a checkpoint's tensors.

    Args:
        shape: of the checkpoint.
        tensors: by the original's names; those of the encoder are passed over.
        device: where it computes.
    """
    with torch.device("meta"):
        model = SnacDecoder(shape)
    weights = {
        name: torch.from_numpy(array).to(device)
        for name, array in snac_stream.fold(tensors).items()
    }
    model.load_state_dict(weights, assign=True)
    return model.eval().requires_grad_(False)


class _Memory:
    """The pasts of one call, in the order in which the network meets them."""

    def __init__(self, plan: Plan, state: Tensor, mask: Tensor | None) -> None:
        sizes = [past.steps * past.channels for past in plan.pasts]
        self._pasts = iter(
            piece.reshape(-1, past.channels, past.steps)
            for past, piece in zip(plan.pasts, torch.split(state, sizes, 1), strict=True)
        )
        self._mask = mask
        self._masked = 0
        self._kept: list[Tensor] = []

    def join(self, x: Tensor) -> Tensor:
        """Put what is remembered before x: [B, D, T] -> [B, D, past + T]."""
        past = next(self._pasts)
        if self._mask is not None:
            x = x * self._mask[:, None, self._masked : self._masked + x.shape[2]]
            self._masked += x.shape[2]
        joined = torch.cat((past, x), 2)
        self._kept.append(joined[..., -past.shape[2] :].flatten(1))
        return joined

    def state(self) -> Tensor:
        """[B, S], once all were met."""
        return torch.cat(self._kept, 1)


class _Layers(nn.Module):
    def __init__(self, shape: SnacShape) -> None:
        super().__init__()
        width = shape.width >> len(shape.rates)
        self.model = nn.ModuleList(
            [
                nn.Conv1d(shape.latent, shape.latent, KERNEL, groups=shape.latent),
                nn.Conv1d(shape.latent, shape.width, 1),
                *(_Block(shape.width >> i, rate) for i, rate in enumerate(shape.rates)),
                _Snake(width),
                nn.Conv1d(width, 1, KERNEL),
            ]
        )

    def forward(self, x: Tensor, noise: Sequence[Tensor], memory: _Memory) -> Tensor:
        depthwise, pointwise, *blocks, snake, last = self.model
        x = pointwise(depthwise(memory.join(x)))
        for block, breath in zip(blocks, noise, strict=True):
            x = block(x, breath[:, None], memory)
        return torch.tanh(last(snake(memory.join(x)))[:, 0])


class _Quantizer(nn.Module):
    def __init__(self, shape: SnacShape) -> None:
        super().__init__()
        self.quantizers = nn.ModuleList(_Level(shape) for _ in shape.strides)

    def forward(self, codes: Tensor) -> Tensor:
        levels = zip(self.quantizers, codes.unbind(-1), strict=True)
        return torch.stack([level(column) for level, column in levels]).sum(0)


class _Level(nn.Module):
    """A codebook and the matrix that makes latents of its vectors; `forward`: [B, T] -> [B, D, T]."""

    def __init__(self, shape: SnacShape) -> None:
        super().__init__()
        self.codebook = nn.Embedding(shape.codes, shape.code_width)
        self.out_proj = nn.Conv1d(shape.code_width, shape.latent, 1)

    def forward(self, codes: Tensor) -> Tensor:
        return cast(Tensor, self.out_proj(self.codebook(codes).transpose(1, 2)))


class _Snake(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.empty(1, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + (self.alpha * x).sin().square() / (self.alpha + 1e-9)


class _Breath(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Conv1d(width, width, 1, bias=False)

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        return x + noise * cast(Tensor, self.linear(x))


class _Residual(nn.Module):
    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.reach = KERNEL // 2 * dilation
        self.block = nn.Sequential(
            _Snake(width),
            nn.Conv1d(width, width, KERNEL, dilation=dilation, groups=width),
            _Snake(width),
            nn.Conv1d(width, width, 1),
        )

    def forward(self, x: Tensor, memory: _Memory) -> Tensor:
        x = memory.join(x)
        return x[..., self.reach : -self.reach] + cast(Tensor, self.block(x))


class _Block(nn.Module):
    def __init__(self, width: int, rate: int) -> None:
        super().__init__()
        self.block = nn.ModuleList(
            [
                _Snake(width),
                # Padding of a whole stride: what the first and the last input give alone is left out.
                nn.ConvTranspose1d(width, width // 2, 2 * rate, stride=rate, padding=rate),
                _Breath(width // 2),
                *(_Residual(width // 2, dilation) for dilation in DILATIONS),
            ]
        )

    def forward(self, x: Tensor, noise: Tensor, memory: _Memory) -> Tensor:
        snake, upsample, breath, *residuals = self.block
        x = breath(upsample(snake(memory.join(x))), noise)
        for residual in residuals:
            x = residual(x, memory)
        return x
