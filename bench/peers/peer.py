"""The benchmarks' peer in PyTorch: a process that is told on its standard input what to prepare and to run, a JSON object a line.

{"make": NAME, "as": ID, ...options}   prepares a case; answers {"ok": true}
{"run": ID, "times": N, "threads": T}  runs it N times; answers {"wall": ms, "processor": ms} of all N
{"factors": {...}}                     both factors of one convolution, to be held against ours

K-FAC is written as peers write it: patches are unfolded, factors are full matrix products, inverses come from a Cholesky factorisation,
and everything is done in every step.
"""
import json
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn


class Shortcut(nn.Module):
    """Every second pixel, with zero channels on both sides (option A)."""

    def __init__(self, extra):
        super().__init__()
        self.extra = extra

    def forward(self, x):
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.extra, self.extra))


class Block(nn.Module):
    def __init__(self, into, out, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(into, out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.past = nn.Identity() if stride == 1 else Shortcut((out - into) // 2)

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.past(x))


def resnet20():
    layers = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    into = 16
    for out in (16, 32, 64):
        for block in range(3):
            layers.append(Block(into, out, 2 if block == 0 and out > 16 else 1))
            into = out
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def patches(layer, x):
    """Rows of features for each position: unfolded patches of a convolution, inputs and a one of a dense layer."""
    if isinstance(layer, nn.Conv2d):
        rows = F.unfold(x, layer.kernel_size, layer.dilation, layer.padding, layer.stride)
        rows = rows.transpose(1, 2).reshape(-1, rows.shape[1])
    else:
        rows = x
    if layer.bias is not None:
        rows = torch.cat([rows, rows.new_ones(rows.shape[0], 1)], 1)
    return rows


def factor_a(layer, x):
    rows = patches(layer, x)
    return rows.t() @ rows / rows.shape[0]


def factor_g(layer, gy):
    """Of the gradients of a mean over the batch: summed over positions, mean over examples."""
    n = gy.shape[0]
    rows = gy.transpose(0, 1).reshape(gy.shape[1], -1).t() if gy.dim() == 4 else gy
    return rows.t() @ rows * n


def inverse(m, damping):
    eye = torch.eye(m.shape[0])
    return torch.cholesky_inverse(torch.linalg.cholesky(m + damping * eye))


class Kfac:
    def __init__(self, model, damping=1e-2):
        self.damping = damping
        self.layers = [m for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
        self.norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
        self.inputs, self.grads = {}, {}
        for m in self.layers + self.norms:
            m.register_forward_pre_hook(lambda m, i: self.inputs.__setitem__(m, i[0].detach()))
            m.register_full_backward_hook(lambda m, gi, go: self.grads.__setitem__(m, go[0].detach()))

    @torch.no_grad()
    def precondition(self):
        for m in self.layers:
            a, g = factor_a(m, self.inputs[m]), factor_g(m, self.grads[m])
            pi = torch.sqrt((a.trace() / a.shape[0]) / (g.trace() / g.shape[0]).clamp_min(1e-30)).clamp(1e-6, 1e6)
            root = self.damping**0.5
            grad = m.weight.grad.reshape(m.weight.shape[0], -1)
            if m.bias is not None:
                grad = torch.cat([grad, m.bias.grad[:, None]], 1)
            natural = inverse(g, root / pi) @ grad @ inverse(a, root * pi)
            if m.bias is not None:
                m.bias.grad.copy_(natural[:, -1])
                natural = natural[:, :-1]
            m.weight.grad.copy_(natural.reshape(m.weight.shape))
        for m in self.norms:
            x, gy = self.inputs[m], self.grads[m]
            n = x.shape[0]
            mean, var = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), unbiased=False, keepdim=True)
            hat = (x - mean) / torch.sqrt(var + m.eps)
            dg, db = n * (gy * hat).sum((2, 3)), n * gy.sum((2, 3))
            f11, f12, f22 = (dg * dg).mean(0) + self.damping, (dg * db).mean(0), (db * db).mean(0) + self.damping
            det = f11 * f22 - f12 * f12
            g1, g2 = m.weight.grad.clone(), m.bias.grad.clone()
            m.weight.grad.copy_((f22 * g1 - f12 * g2) / det)
            m.bias.grad.copy_((f11 * g2 - f12 * g1) / det)


def resnet20_step(kfac, batch):
    torch.manual_seed(0)
    model = resnet20()
    x, y = torch.randn(batch, 3, 32, 32), torch.arange(batch) % 10
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0, momentum=0.9)
    second = Kfac(model) if kfac else None

    def step():
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        if second:
            second.precondition()
        optimizer.step()

    return step


def matmul(m, n, k):
    a, b = torch.randn(m, k), torch.randn(k, n)
    return lambda: a @ b


def input_factors(layers, batch):
    """Input factors of convolutions: (in, size, out, kernel, stride, times) each."""
    work = []
    for into, size, out, kernel, stride, times in layers:
        layer = nn.Conv2d(into, out, kernel, stride, kernel // 2, bias=False)
        work.append((layer, torch.randn(batch, into, size, size), times))

    @torch.no_grad()
    def run():
        for layer, x, times in work:
            for _ in range(times):
                factor_a(layer, x)

    return run


def make(request):
    kind = request["make"]
    if kind == "resnet20":
        return resnet20_step(request["kfac"], request["batch"])
    if kind == "matmul":
        return matmul(*request["size"])
    if kind == "factors":
        return input_factors(request["layers"], request["batch"])
    raise ValueError(kind)


def main():
    made = {}
    for line in sys.stdin:
        request = json.loads(line)
        if "make" in request:
            made[request["as"]] = make(request)
            answer = {"ok": True}
        elif "run" in request:
            torch.set_num_threads(request["threads"])
            call = made[request["run"]]
            wall, processor = time.perf_counter(), time.process_time()
            for _ in range(request["times"]):
                call()
            answer = {"wall": 1e3 * (time.perf_counter() - wall), "processor": 1e3 * (time.process_time() - processor)}
        elif "factors" in request:
            f = request["factors"]
            layer = nn.Conv2d(f["in"], f["out"], f["kernel"], f["stride"], f["kernel"] // 2, bias=False)
            x, gy = (torch.tensor(f[k]["data"]).reshape(f[k]["shape"]) for k in ("x", "gy"))
            answer = {"a": factor_a(layer, x).flatten().tolist(), "g": factor_g(layer, gy).flatten().tolist()}
        else:
            answer = {"version": torch.__version__, "python": sys.version.split()[0]}
        print(json.dumps(answer), flush=True)


main()
