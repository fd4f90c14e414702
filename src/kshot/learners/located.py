"""Located classification (mechanism B): a class-agnostic localiser finds pieces, a closed-form head names them.

"Where" transfers between tasks, "what" is solved from the support: Ma et al. (2022), "Decomposed meta-learning for
few-shot named entity recognition", and for boxes Pérez-Rúa et al. (2020), "Incremental few-shot object detection".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kshot.encoders import Encoder
from kshot.errors import BundleError, SettingError, TaskError, UnsupportedError
from kshot.heads import HEADS, Head
from kshot.learners.learner import Learner, State
from kshot.learners.localiser import Candidates, Localiser, Where, make_localiser
from kshot.tasks import Examples, Task
from kshot.tasks.spaces import OutputSpace, Pieces

_ASIDE = 4
"""Unmarked candidates of each example that are kept as examples of what is no piece of any class."""
_MOST_ASIDE = 256


class Located(Learner):
    """Pieces are found by `localiser` and named by `head`, or refused.

    The score of class k is the head's, minus the level at which k's own examples score: its exact leave-one-out mean,
    drawn towards a meta-learned prior that serves alone at one shot. A candidate that lies below every level is
    refused, and so is one that is nearer to something the support has but does not mark: the outside class.

    Args:
        encoder: gives the features that the localiser reads.
        localiser: finds candidates; or a dictionary {"kind", ...} as `config` gives it.
        head: "prototype", "ridge", "kernel_ridge", "lda", or a head.
        settings: of a head given by name.
    """

    kind: ClassVar[str] = "located"
    spaces: ClassVar[tuple[type[OutputSpace], ...]] = (Pieces,)

    def __init__(
        self,
        encoder: Encoder,
        localiser: Localiser | dict[str, Any],
        head: str | Head = "prototype",
        **settings: Any,
    ) -> None:
        super().__init__(encoder)
        self.localiser = localiser if isinstance(localiser, Localiser) else _made(localiser)
        if isinstance(head, str):
            if head not in HEADS or head == "bayesian":
                raise SettingError(f"head is {head!r}; choose one of prototype, ridge, kernel_ridge, lda")
            head = HEADS[head](**settings)
        self.head = head
        self.level = nn.Parameter(torch.tensor([-1.5, -0.5]))  # of scores, and what one shot adds to it
        self.log_weight = nn.Parameter(torch.tensor(1.0))  # of the prior level, in examples
        self.outside = nn.Parameter(
            torch.tensor([-2.0, -1.0])
        )  # the refusal, and that near an unmarked candidate
        self.log_scale = nn.Parameter(torch.tensor(1.0))  # of distances to unmarked candidates

    def config(self) -> dict[str, Any]:
        localiser = {"kind": self.localiser.kind, **self.localiser.config()}
        return {"localiser": localiser, "head": self.head.kind, **self.head.config()}

    def check_space(self, space: OutputSpace) -> None:
        if not isinstance(space, self.localiser.space):
            raise UnsupportedError(
                f"{type(self).__name__} with a {type(self.localiser).__name__} cannot answer with "
                f"{type(space).__name__}; it answers with {self.localiser.space.__name__}: choose another learner"
            )

    def guess_space(self, targets: Any) -> OutputSpace:
        """The space of the labels that occur."""
        return self.localiser.space.of(targets)

    def embed(self, prepared: Any) -> Any:
        return self.localiser.embed(self.encoder(prepared))

    def solve(self, support: Examples, space: OutputSpace) -> State:
        items, rows = list(support.inputs), list(support.targets)
        where, looks = self.localiser.locate(items, rows), self.localiser.vectors_of(items, rows)
        return self.solved(rows, looks, where, self.localiser.aside(items, rows, where, _ASIDE), space)

    def solve_without_each(
        self, items: Sequence[Tensor], rows: Sequence[Tensor], space: OutputSpace
    ) -> list[State | None]:
        """The states of the support without each of its inputs in turn; None where no labelled piece is left."""
        looks, found = self.localiser.vectors_of(items, rows), list[State | None]()
        for place, (where, aside) in enumerate(self.localiser.without_each(items, rows, _ASIDE)):
            rest = [n for n in range(len(items)) if n != place]
            marked = [rows[n] for n in rest]
            named = any(bool((own[:, -1] >= 0).any()) for own in marked)
            found.append(
                self.solved(marked, [looks[n] for n in rest], where, aside, space) if named else None
            )
        return found

    def solved(
        self,
        rows: Sequence[Tensor],
        looks: Sequence[Tensor],
        where: Where,
        aside: Sequence[Tensor],
        space: OutputSpace,
    ) -> State:
        """The state, given what pieces and likely other places look like, and what the support says of places."""
        vectors = torch.cat(list(looks))
        labels = torch.cat([own[:, -1] for own in rows]).long().to(vectors.device)
        named = labels >= 0
        if not bool(named.any()):
            raise TaskError(
                "the support has 0 pieces with a label; mark at least one piece and give its label"
            )
        state = self.named(vectors[named], labels[named], space.size - 1)
        return {
            **state,
            **{f"where/{k}": t for k, t in where.items()},
            "aside": torch.cat([vectors[~named], *aside])[:_MOST_ASIDE],
        }

    def named(self, vectors: Tensor, labels: Tensor, size: int) -> State:
        """The head, and each class's level, on marked pieces [n, d]; classes without any stay out of it."""
        present, places = torch.unique(labels, return_inverse=True)
        head = self.head.solve(vectors, places, len(present))
        own = self.head.without_each(vectors, places, len(present)).own().gather(1, places[:, None])[:, 0]
        count = torch.bincount(places, minlength=len(present)).to(vectors.dtype)
        alone = (count == 1)[places]
        total = torch.zeros_like(count).index_add(0, places, own.masked_fill(alone, 0.0))
        prior = self.level[0] + self.level[1] / count
        weight = self.log_weight.exp()
        seen = (weight * prior + total) / (weight + count)
        levels = torch.where(count > 1, seen, prior)
        return {"present": present, "levels": levels, **{f"head/{name}": t for name, t in head.items()}}

    def names(self, state: State, vectors: Tensor, space: OutputSpace) -> Tensor:
        """Log-probabilities [m, 1 + labels] given that each of the vectors [m, d] is a piece; column 0 refuses it."""
        head = {name.removeprefix("head/"): t for name, t in state.items() if name.startswith("head/")}
        scores = self.head.respond(head, vectors) - state["levels"]
        wide = scores.new_full((len(vectors), space.size - 1), float("-inf"))
        wide = wide.index_copy(1, state["present"], scores)
        return torch.cat([self.refusal(state, vectors), wide], 1).log_softmax(1)

    def ready(self, states: Sequence[State], vectors: Tensor) -> Sequence[State]:
        """States that name the same vectors one after the other; override it where they would do much again."""
        return states

    def refusal(self, state: State, vectors: Tensor) -> Tensor:
        """The score [m, 1] of being none of the classes: a constant, more near something that the support leaves unmarked."""
        constant = self.outside[0].expand(len(vectors), 1)
        if not len(state["aside"]):
            return constant
        near = torch.cdist(vectors, state["aside"]).square().amin(1, keepdim=True) / vectors.shape[1]
        return torch.logaddexp(constant, self.outside[1] - near * self.log_scale.exp() - self.level.sum())

    def candidates(self, state: State, items: Sequence[Tensor]) -> list[Candidates]:
        """What the localiser finds in embedded inputs, after adapting."""
        where = where_of(state)
        return [self.localiser.propose(item, where) for item in items]

    def scored(self, state: State, found: Sequence[Candidates], space: OutputSpace) -> Any:
        """The outputs for candidates of n inputs."""
        objectness = torch.cat([one.objectness for one in found])
        names = self.names(state, torch.cat([one.vectors for one in found]), space)
        yes, no = F.logsigmoid(objectness), F.logsigmoid(-objectness)
        unknown = yes + names[:, 0]
        scores = torch.cat([torch.logaddexp(no, unknown)[:, None], yes[:, None] + names[:, 1:]], 1)
        return self.localiser.outputs(found, scores, unknown)

    def respond(self, state: State, inputs: Any, space: OutputSpace) -> Any:
        return self.scored(state, self.candidates(state, list(inputs)), space)

    def loss(self, task: Task) -> Tensor:
        """How ill pieces are located in support and query, plus how ill those of the query are named: the mean
        cross entropy over its marked pieces and its likeliest unmarked candidates."""
        support, query = task.support, task.query
        if support is None or query is None:
            raise TaskError(f"task {task.name!r} lacks a support or a query; training needs both")
        joint = self.embed(self.encoder.join([support.inputs, query.inputs]))
        items, count = list(joint), len(support)
        rows = [*support.targets, *query.targets]
        state = self.solve(Examples(items[:count], support.targets), task.space)
        naming = self._naming(state, items[count:], list(query.targets), task.space)
        return naming + self.localiser.loss(items, rows)

    def _naming(self, state: State, items: list[Tensor], rows: list[Tensor], space: OutputSpace) -> Tensor:
        marked = self.localiser.vectors_of(items, rows)
        aside = self.localiser.aside(items, rows, where_of(state), _ASIDE)
        goal = torch.cat([own[:, -1] for own in rows]).long() + 1
        goal = torch.cat([goal, goal.new_zeros(sum(map(len, aside)))])
        names = self.names(state, torch.cat([*marked, *aside]), space)
        return F.nll_loss(names, goal) if len(goal) else names.sum() * 0


def where_of(state: State) -> Where:
    """What a solved support says about where pieces are."""
    return {name.removeprefix("where/"): t for name, t in state.items() if name.startswith("where/")}


def _made(spec: dict[str, Any]) -> Localiser:
    settings = {name: value for name, value in spec.items() if name != "kind"}
    try:
        return make_localiser(spec["kind"], settings)
    except KeyError:
        raise BundleError(
            f"localiser {spec.get('kind')!r} is not known; import the package that brings it, which registers it "
            "with kshot.learners.register_localiser"
        ) from None
