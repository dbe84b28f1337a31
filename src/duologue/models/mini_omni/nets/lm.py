"""Mini-Omni's language model: Qwen2-0.5B that reads and writes eight streams at once."""

from collections.abc import Mapping
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F  # noqa: N812  # the name it has everywhere
from torch import Tensor, nn

from duologue.models.mini_omni.nets.shapes import CODEBOOKS, LanguageModelShape


class KeyValueCache:
    """What the attention of all layers remembers of some sequences, a row each.

    The rows are independent: each has its own length, which the caller knows. A row is free again as
    soon as something else is written from its position 0.

    Attributes:
        keys: [layers, rows, groups, positions, head width], positions encoded.
        values: the same.
    """

    def __init__(
        self,
        shape: LanguageModelShape,
        rows: int,
        positions: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        size = (shape.layers, rows, shape.groups, positions, shape.head_width)
        self.keys = torch.zeros(size, dtype=dtype, device=device)
        self.values = torch.zeros(size, dtype=dtype, device=device)

    def fork(self, source: int, target: int, length: int) -> None:
        """Let row `target` begin with the first `length` positions of row `source`."""
        self.keys[:, target, :, :length] = self.keys[:, source, :, :length]
        self.values[:, target, :, :length] = self.values[:, source, :, :length]


class LanguageModel(nn.Module):
    """The network. Make it with `language_model`.

    Its parts have the names that the checkpoint gives them: `wte` the embedding table, `h` the
    blocks, `ln_f` the last norm, `lm_head` the output head (the table itself if they are tied).
    """

    cos: Tensor
    sin: Tensor

    def __init__(self, shape: LanguageModelShape) -> None:
        super().__init__()
        self.shape = shape
        self.wte = nn.Embedding(shape.vocabulary, shape.width)
        self.h = nn.ModuleList(_Block(shape) for _ in range(shape.layers))
        self.ln_f = nn.RMSNorm(shape.width, shape.norm_epsilon)
        self.lm_head = nn.Linear(shape.width, shape.vocabulary, bias=False)
        self.whisper_adapter = _GatedMlp(shape.adapter_width, shape.mlp_width, shape.width)
        cos, sin = _rotations(shape)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def embed(self, ids: Tensor, adapted: Tensor | None = None) -> Tensor:
        """The vectors of a prompt's positions, or of one step's.

        Args:
            ids: [8, B, T], in the shared table: the audio layers in order, then the text.
            adapted: [B, N, D], what `adapt` makes of an utterance. It takes the place of the seven
                audio ids at positions 1 to N.

        Returns:
            [B, T, D]
        """
        embedded: Tensor = self.wte(ids).mean(0)
        if adapted is None:
            return embedded
        spoken = slice(1, 1 + adapted.shape[1])
        text = self.wte(ids[CODEBOOKS, :, spoken])
        embedded[:, spoken] = (CODEBOOKS * adapted + text) / (CODEBOOKS + 1)
        return embedded

    def adapt(self, features: Tensor) -> Tensor:
        """Turn the encoder's features [..., adapter width] into embeddings [..., D]."""
        return cast(Tensor, self.whisper_adapter(features))

    def forward(
        self,
        x: Tensor,
        cache: KeyValueCache,
        rows: Tensor | None,
        positions: Tensor,
        slots: int | None = None,
    ) -> Tensor:
        """Append T positions to B sequences: a prompt, a part of a prompt, or one step.

        With `slots` given, nothing here depends on the values in `positions` and `rows`, so that the
        call can be captured in a CUDA graph.

        Args:
            x: [B, T, D], embedded.
            cache: written at the T positions of each row; the earlier ones have to be there.
            rows: [B], whole numbers: the cache's row of each sequence, each at most once. None says
                that they are all the cache's rows in order, which saves a copy of what is attended to.
            positions: [B], whole numbers: where each sequence goes on.
            slots: positions of the cache to look at, at least as many as the longest sequence has
                after this call. None looks at just as many.

        Returns:
            [B, T, D], normalised, for `audio_logits` and `text_logits`.
        """
        where = positions[:, None] + torch.arange(x.shape[1], device=x.device)  # [B, T]
        if slots is None:
            slots = int(positions.max()) + x.shape[1]
        causal = torch.arange(slots, device=x.device) <= where[:, :, None]  # [B, T, slots]
        place = _Place(
            rows=torch.arange(x.shape[0], device=x.device) if rows is None else rows,
            all_rows=rows is None,
            where=where,
            mask=causal.repeat_interleave(self.shape.heads // self.shape.groups, 1)[:, None],
            cos=self.cos[where, None],
            sin=self.sin[where, None],
        )
        for block, keys, values in zip(self.h, cache.keys, cache.values, strict=True):
            x = block(x, keys, values, place)
        return cast(Tensor, self.ln_f(x))

    def audio_logits(self, hidden: Tensor) -> Tensor:
        """[..., D] to [..., K, audio vocabulary]: of each layer's local ids."""
        logits = F.linear(hidden, self.lm_head.weight[self.shape.text_vocabulary :])
        return torch.unflatten(logits, -1, (CODEBOOKS, self.shape.audio_vocabulary))

    def text_logits(self, hidden: Tensor) -> Tensor:
        """[..., D] to [..., text vocabulary]."""
        return F.linear(hidden, self.lm_head.weight[: self.shape.text_vocabulary])


def language_model(
    shape: LanguageModelShape,
    tensors: Mapping[str, Tensor],
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> LanguageModel:
    """Build the network from a checkpoint's tensors, which it keeps if they fit as they are.

    Args:
        shape: of the checkpoint.
        tensors: by the original's names. Without `lm_head.weight`, or with one that equals the
            embedding table, the head is the table, whatever the shape says.
        dtype: of the weights, and so of the computation.
        device: where it computes.
    """
    table, head = tensors["transformer.wte.weight"], tensors.get("lm_head.weight")
    tied = head is None or torch.equal(head, table)
    with torch.device("meta"):
        model = LanguageModel(shape)
    weights = {}
    for name, tensor in tensors.items():
        ordered = _in_order(tensor, shape) if ".attn.attn." in name else tensor
        weights[name.removeprefix("transformer.")] = ordered.to(device, dtype)
    if tied:
        weights["lm_head.weight"] = weights["wte.weight"]
    model.load_state_dict(weights, assign=True)
    if tied:
        model.lm_head.weight = model.wte.weight
    return model.to(device).eval().requires_grad_(False)


class _Place(NamedTuple):
    """Where a call's positions lie, which is the same for all layers."""

    rows: Tensor  # [B]
    all_rows: bool
    where: Tensor  # [B, T]
    mask: Tensor  # [B, 1, T * heads / groups, slots]: what each query may look at
    cos: Tensor  # [B, T, 1, head width]
    sin: Tensor


class _Block(nn.Module):
    def __init__(self, shape: LanguageModelShape) -> None:
        super().__init__()
        self.norm_1 = nn.RMSNorm(shape.width, shape.norm_epsilon)
        self.attn = _Attention(shape)
        self.norm_2 = nn.RMSNorm(shape.width, shape.norm_epsilon)
        self.mlp = _GatedMlp(shape.width, shape.mlp_width, shape.width)

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, place: _Place) -> Tensor:
        x = x + self.attn(self.norm_1(x), keys, values, place)
        return cast(Tensor, x + self.mlp(self.norm_2(x)))


class _Attention(nn.Module):
    def __init__(self, shape: LanguageModelShape) -> None:
        super().__init__()
        self.heads, self.groups, self.head_width = shape.heads, shape.groups, shape.head_width
        inner = shape.heads * shape.head_width
        self.attn = nn.Linear(shape.width, inner + 2 * shape.groups * shape.head_width)
        self.proj = nn.Linear(inner, shape.width, bias=False)

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, place: _Place) -> Tensor:
        """`keys` and `values` are one layer's of the cache: [rows, groups, positions, head width]."""
        fused = torch.unflatten(self.attn(x), -1, (-1, self.head_width))  # [B, T, H + 2 groups, ..]
        query, key, value = torch.split(fused, [self.heads, self.groups, self.groups], -2)
        query = _rotate(query, place.cos, place.sin)
        written = (place.rows[:, None], slice(None), place.where)
        keys[written] = _rotate(key, place.cos, place.sin)
        values[written] = value
        slots = place.mask.shape[-1]
        keys, values = keys[:, :, :slots], values[:, :, :slots]
        if not place.all_rows:
            keys, values = keys[place.rows], values[place.rows]
        # The query heads that share a key are stacked as if they were further positions: so the
        # keys are never repeated, whichever kernel runs.
        shared = self.heads // self.groups
        stacked = torch.unflatten(query, 2, (self.groups, shared)).transpose(1, 2).flatten(2, 3)
        seen = F.scaled_dot_product_attention(stacked, keys, values, place.mask)
        merged = torch.unflatten(seen, 2, (-1, shared)).transpose(1, 2).flatten(2)
        return cast(Tensor, self.proj(merged))


class _GatedMlp(nn.Module):
    def __init__(self, width_in: int, inner: int, width_out: int) -> None:
        super().__init__()
        self.fc_1 = nn.Linear(width_in, inner, bias=False)
        self.fc_2 = nn.Linear(width_in, inner, bias=False)
        self.proj = nn.Linear(inner, width_out, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.proj(F.silu(self.fc_1(x)) * self.fc_2(x)))


def _rotations(shape: LanguageModelShape) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the rotary embedding: [positions, head width] each, float32, on the CPU."""
    halves = torch.arange(0, shape.head_width, 2, device="cpu").float()
    speeds = 1 / shape.rope_base ** (halves / shape.head_width)
    angles = torch.outer(torch.arange(shape.positions, device="cpu").float(), speeds).repeat(1, 2)
    return angles.cos(), angles.sin()


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Encode the position in queries or keys [B, T, H, head width]."""
    first, second = x.float().chunk(2, dim=-1)
    rotated = torch.cat((-second, first), dim=-1)
    return (x * cos + rotated * sin).to(x.dtype)


def _in_order(fused: Tensor, shape: LanguageModelShape) -> Tensor:
    """Sort the rows of a fused projection, which lie group by group, into queries, keys, values."""
    by_group = torch.unflatten(fused, 0, (shape.groups, -1, shape.head_width))
    query, key, value = by_group[:, :-2], by_group[:, -2], by_group[:, -1]
    return torch.cat([part.reshape(-1, *fused.shape[1:]) for part in (query, key, value)])
