#!/usr/bin/env python3
"""Makes the numbers of this folder: a transformer in doubles, its gradients derived by hand.

usage: make.py FOLDER

Independent of the C code: NumPy alone, matrices of a whole sequence at a time, no cache. Before
anything is written, gradients are held against central differences.
"""
import json
import math
import os
import sys

import numpy as np

LAYERS, WIDTH, HEADS, VOCAB, FFN = 2, 32, 4, 256, 128
SEQUENCES, LENGTH, PROMPT, MORE = 2, 24, 8, 16
ROTARY_PCT, ROTARY_BASE, EPS = 0.5, 10000.0, 1e-5
HEAD = WIDTH // HEADS

erf = np.vectorize(math.erf)


def draw_weights(rng):
    """Float32 numbers, in doubles: what the C code loads is exactly what is computed with here."""
    def normal(rows, deviation, mean=0.0):
        drawn = rng.normal(mean, deviation, (rows, WIDTH))
        return drawn.astype(np.float32).astype(np.float64)

    tables = {"embed.tokens": normal(VOCAB, 0.3), "norm.weight": normal(1, 0.1, 1.0),
              "norm.bias": normal(1, 0.1)}
    for layer in range(LAYERS):
        for name in ("q", "k", "v", "o"):
            tables[f"layers.{layer}.attn.{name}.weight"] = normal(WIDTH, WIDTH**-0.5)
        tables[f"layers.{layer}.ffn.keys"] = normal(FFN, WIDTH**-0.5)
        tables[f"layers.{layer}.ffn.values"] = normal(FFN, FFN**-0.5)
    return tables


def norm(x):
    rstd = 1 / np.sqrt(x.var(-1, keepdims=True) + EPS)
    return (x - x.mean(-1, keepdims=True)) * rstd, rstd


def norm_back(h, rstd, dh):
    return rstd * (dh - dh.mean(-1, keepdims=True) - h * (dh * h).mean(-1, keepdims=True))


def gelu(z):
    return 0.5 * z * (1 + erf(z / math.sqrt(2)))


def gelu_slope(z):
    return 0.5 * (1 + erf(z / math.sqrt(2))) + z * np.exp(-z * z / 2) / math.sqrt(2 * math.pi)


def turn(x, sign=1):
    """RoPE on (heads, length, head width): channel i with i + half."""
    rotated = int(HEAD * ROTARY_PCT)
    half = rotated // 2
    rates = ROTARY_BASE ** (-2.0 * np.arange(half) / rotated)
    angles = np.arange(x.shape[1])[:, None] * rates
    cos, sin = np.cos(angles), sign * np.sin(angles)
    a, b = x[..., :half], x[..., half:rotated]
    return np.concatenate([a * cos - b * sin, b * cos + a * sin, x[..., rotated:]], -1)


def split(x):
    return x.reshape(len(x), HEADS, HEAD).transpose(1, 0, 2)


def join(x):
    return x.transpose(1, 0, 2).reshape(x.shape[1], WIDTH)


def forward(tables, ids):
    """Logits of one sequence, and what the way back needs."""
    x, kept = tables["embed.tokens"][ids], []
    future = np.triu(np.full((len(ids), len(ids)), -np.inf), 1)
    for layer in range(LAYERS):
        at = f"layers.{layer}."
        h, rstd = norm(x)
        q, k, v = (split(h @ tables[at + f"attn.{name}.weight"].T) for name in "qkv")
        q, k = turn(q), turn(k)
        scores = q @ k.transpose(0, 2, 1) / math.sqrt(HEAD) + future
        p = np.exp(scores - scores.max(-1, keepdims=True))
        p /= p.sum(-1, keepdims=True)
        mixed = join(p @ v)
        x = x + mixed @ tables[at + "attn.o.weight"].T
        h2, rstd2 = norm(x)
        z = h2 @ tables[at + "ffn.keys"].T
        x = x + gelu(z) @ tables[at + "ffn.values"]
        kept.append((h, rstd, q, k, v, p, mixed, h2, rstd2, z))
    last, rstd = norm(x)
    hidden = last * tables["norm.weight"] + tables["norm.bias"]
    return hidden @ tables["embed.tokens"].T, (kept, last, rstd, hidden)


def cross_entropy(logits, targets):
    """Each row's loss, and softmax - one-hot."""
    top = logits.max(-1, keepdims=True)
    total = np.exp(logits - top).sum(-1, keepdims=True)
    slope = np.exp(logits - top) / total
    rows = np.arange(len(targets))
    losses = (top + np.log(total))[:, 0] - logits[rows, targets]
    slope[rows, targets] -= 1
    return losses, slope


def backward(tables, grads, ids, dlogits, state):
    """Adds the gradients of one sequence."""
    kept, last, rstd, hidden = state
    grads["embed.tokens"] += dlogits.T @ hidden
    dhidden = dlogits @ tables["embed.tokens"]
    grads["norm.weight"] += (dhidden * last).sum(0)
    grads["norm.bias"] += dhidden.sum(0)
    dx = norm_back(last, rstd, dhidden * tables["norm.weight"])
    for layer in reversed(range(LAYERS)):
        at = f"layers.{layer}."
        h, rstd, q, k, v, p, mixed, h2, rstd2, z = kept[layer]
        dz = dx @ tables[at + "ffn.values"].T * gelu_slope(z)
        grads[at + "ffn.values"] += gelu(z).T @ dx
        grads[at + "ffn.keys"] += dz.T @ h2
        dx = dx + norm_back(h2, rstd2, dz @ tables[at + "ffn.keys"])
        grads[at + "attn.o.weight"] += dx.T @ mixed
        dmixed = split(dx @ tables[at + "attn.o.weight"])
        dp = dmixed @ v.transpose(0, 2, 1)
        dscores = p * (dp - (p * dp).sum(-1, keepdims=True)) / math.sqrt(HEAD)
        dqkv = (turn(dscores @ k, -1), turn(dscores.transpose(0, 2, 1) @ q, -1),
                p.transpose(0, 2, 1) @ dmixed)
        dh = 0
        for name, d in zip("qkv", map(join, dqkv)):
            grads[at + f"attn.{name}.weight"] += d.T @ h
            dh = dh + d @ tables[at + f"attn.{name}.weight"]
        dx = dx + norm_back(h, rstd, dh)
    np.add.at(grads["embed.tokens"], ids, dx)


def mean_loss(tables, tokens):
    return np.mean([cross_entropy(forward(tables, row[:-1])[0], row[1:])[0] for row in tokens])


def gradients(tables, tokens):
    grads = {name: np.zeros_like(table) for name, table in tables.items()}
    for row in tokens:
        logits, state = forward(tables, row[:-1])
        slope = cross_entropy(logits, row[1:])[1] / (SEQUENCES * LENGTH)
        backward(tables, grads, row[:-1], slope, state)
    return grads


def check(tables, tokens, grads, rng, step=1e-5):
    """A few numbers of each table against central differences."""
    for name, table in tables.items():
        for _ in range(4):
            at = (rng.integers(len(table)) if name != "embed.tokens" else tokens[0, 3],
                  rng.integers(WIDTH))
            was = table[at]
            table[at] = was + step
            above = mean_loss(tables, tokens)
            table[at] = was - step
            below = mean_loss(tables, tokens)
            table[at] = was
            off = abs((above - below) / (2 * step) - grads[name][at])
            assert off < 1e-7 * np.abs(grads[name]).max() + 1e-9, (name, at, off)


def greedy(tables, ids):
    """`MORE` best ids after the prompt; none of them won by so little that rounding could show."""
    ids = list(ids)
    for _ in range(MORE):
        logits = np.sort(forward(tables, np.array(ids))[0][-1])
        assert logits[-1] - logits[-2] > 1e-3
        ids.append(int(forward(tables, np.array(ids))[0][-1].argmax()))
    return ids


def save(folder, name, array, kind="<f4"):
    path = os.path.join(folder, name + ".npy")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    np.save(path, array.squeeze().astype(kind))


def main():
    folder = sys.argv[1]
    rng = np.random.default_rng(11)
    tables = draw_weights(rng)
    tokens = rng.integers(0, VOCAB, (SEQUENCES, LENGTH + 1))
    prompt = [int(id) for id in rng.integers(0, VOCAB, PROMPT)]
    grads = gradients(tables, tokens)
    check(tables, tokens, grads, rng)
    case = {"layers": LAYERS, "width": WIDTH, "heads": HEADS, "vocab": VOCAB, "qkv": WIDTH,
            "proj": WIDTH, "ffn": FFN, "rotary_pct": ROTARY_PCT, "normalisation": "gelu",
            "loss": mean_loss(tables, tokens), "greedy_prompt": prompt,
            "greedy_16": greedy(tables, prompt)}
    for name, table in tables.items():
        save(folder, f"weights/{name}", table)
        save(folder, f"grads/{name}", grads[name])
    save(folder, "tokens", tokens, "<i4")
    save(folder, "logits", np.array([forward(tables, row[:-1])[0] for row in tokens]))
    with open(os.path.join(folder, "case.json"), "w", encoding="ascii") as file:
        file.write(json.dumps(case, indent=1) + "\n")


main()
