"""Peers, each as its documentation shows it: learn2learn, higher, TorchOpt, easyfsl, JAX with optax."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from benchmarks.peers.cases import Case, Contestant, Conv4, network, tasks


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
