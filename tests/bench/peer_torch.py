#!/usr/bin/env python3
"""The peer for training speed: tf-train's model in PyTorch, trained on random tokens on the CPU.

Letters in shapes: B sequences of T positions, C channels, D of them a head, N parameter tokens.
"""
import argparse
import ctypes
import resource
import statistics
import sys
import time
from collections import namedtuple

try:
    import torch
    from torch import nn
    from torch.nn import functional as F
except ImportError as error:
    print(f"peer_torch: skipped: {error}", file=sys.stderr)
    sys.exit(77)

Config = namedtuple("Config", "layers width heads qkv proj ffn context batch vocabulary")
CONFIGS = {
    "a": Config(4, 128, 4, 128, 128, 512, 64, 12, 256),
    "b": Config(6, 384, 6, 384, 384, 1536, 256, 8, 256),
    "c": Config(12, 768, 12, 768, 768, 3072, 256, 4, 50304),
}
M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8  # mallopt(3)


class Pattention(nn.Module):
    """Attention to N tokens, for some tables on one input at once: (B T, C) -> (tables, B T, C)."""

    def __init__(self, config, tokens, tables=1):
        super().__init__()
        spread = 2 / (config.layers * config.width**0.5)
        self.keys = nn.Parameter(0.02 * torch.randn(tables * tokens, config.width))
        self.values = nn.Parameter(spread * torch.randn(tables, tokens, config.width))

    def forward(self, x):
        """l2_norm_gelu with scale N: each row of scores has the norm sqrt(N) before the GELU."""
        tables, tokens, _ = self.values.shape
        scores = F.linear(x, self.keys).view(-1, tables, tokens)
        norms = torch.linalg.vector_norm(scores, dim=-1, keepdim=True)
        return F.gelu(scores * (tokens**0.5 / norms)).transpose(0, 1) @ self.values


def rotate(x, cosine, sine):
    """Turns each head's first channels: x (..., T, D), cosine and sine (T, a half of those)."""
    half = cosine.shape[-1]
    left, right, rest = x.split((half, half, x.shape[-1] - 2 * half), dim=-1)
    return torch.cat((left * cosine - right * sine, right * cosine + left * sine, rest), dim=-1)


class Block(nn.Module):
    """Attention, then the ffn, each on a plain layer norm and added: (B T, C) -> same."""

    def __init__(self, config):
        super().__init__()
        self.heads = config.heads
        self.qkv = Pattention(config, config.qkv, 3)
        self.proj = Pattention(config, config.proj)
        self.ffn = Pattention(config, config.ffn)

    def attend(self, x, cosine, sine):
        """Causal attention: (B T, C) -> same."""
        parts = self.qkv(x).view(3, -1, len(cosine), self.heads, x.shape[-1] // self.heads)
        qk, v = parts.transpose(2, 3).split((2, 1))
        q, k = rotate(qk, cosine, sine)
        y = F.scaled_dot_product_attention(q, k, v[0], is_causal=True)
        return self.proj(y.transpose(1, 2).reshape(x.shape))[0]

    def forward(self, x, cosine, sine):
        x = x + self.attend(F.layer_norm(x, x.shape[-1:]), cosine, sine)
        return x + self.ffn(F.layer_norm(x, x.shape[-1:]))[0]


class TokenFormer(nn.Module):
    """A language model with a tied head: tokens and their successors, (B, T) each -> mean loss."""

    def __init__(self, config):
        super().__init__()
        self.embedding = nn.Parameter(0.02 * torch.randn(config.vocabulary, config.width))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        rotary = config.width // config.heads // 4
        rates = 10000.0 ** (-torch.arange(0, rotary, 2) / rotary)
        angles = torch.outer(torch.arange(config.context), rates)
        self.register_buffer("cosine", angles.cos())
        self.register_buffer("sine", angles.sin())

    def forward(self, tokens, targets):
        x = F.embedding(tokens.flatten(), self.embedding)
        for block in self.blocks:
            x = block(x, self.cosine, self.sine)
        return F.cross_entropy(F.linear(self.norm(x), self.embedding), targets.flatten())


class Trainer:
    """AdamW with clipping, fp32, on fresh random tokens at every step."""

    def __init__(self, config, compiled):
        self.config = config
        self.model = TokenFormer(config)
        self.loss = torch.compile(self.model) if compiled else self.model
        norm = list(self.model.norm.parameters())
        rest = [p for name, p in self.model.named_parameters() if not name.startswith("norm.")]
        groups = [{"params": rest, "weight_decay": 0.1}, {"params": norm}]
        self.optimizer = torch.optim.AdamW(groups, 6e-4, (0.9, 0.95), weight_decay=0, fused=True)

    def step(self):
        """One step; returns its seconds."""
        start = time.perf_counter()
        tokens = torch.randint(self.config.vocabulary, (self.config.batch, self.config.context + 1))
        self.optimizer.zero_grad()
        self.loss(tokens[:, :-1], tokens[:, 1:]).backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0, foreach=True)
        self.optimizer.step()
        return time.perf_counter() - start


def keep_freed_memory():
    """Has glibc reuse large blocks rather than return them and fault them in at every step."""
    libc = ctypes.CDLL(None)
    for option, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, 2**31 - 1), (M_ARENA_MAX, 1)):
        libc.mallopt(option, value)


def serve(trainer):
    """Answers each line "N" of the input with the seconds that N steps took."""
    print("ready", flush=True)
    for line in sys.stdin:
        print(f"{sum(trainer.step() for _ in range(int(line))):.6f}", flush=True)


def report(trainer, steps, seconds):
    """Steps until either limit, at least one; prints tokens a second and peak resident memory."""
    times = [trainer.step()]
    while sum(times) < seconds and (not steps or len(times) < steps):
        times.append(trainer.step())
    tokens = trainer.config.batch * trainer.config.context
    median, low, high = (tokens / f(times) for f in (statistics.median, max, min))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"tokens/s median {median:.1f} min {low:.1f} max {high:.1f} peak {peak:.0f} MiB")


def main():
    parser = argparse.ArgumentParser(description="Times TokenFormer training steps in PyTorch.")
    parser.add_argument("--config", choices=CONFIGS, default="a")
    parser.add_argument("--steps", type=int, default=0, help="stop after so many; 0: no limit")
    parser.add_argument("--seconds", type=float, default=20, help="stop after so many")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--compile", action="store_true", help="torch.compile; needs g++")
    parser.add_argument("--serve", action="store_true", help="for each N read, time N steps")
    args = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    trainer = Trainer(CONFIGS[args.config], args.compile)
    trainer.step()  # not counted: it compiles and makes the moments
    if args.serve:
        serve(trainer)
    else:
        report(trainer, args.steps, args.seconds)


if __name__ == "__main__":
    main()
