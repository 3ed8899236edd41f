"""One model of the catalogue in one size, and where it is published: plain values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from helixstore.catalogue.memory import Shape
from helixstore.catalogue.references import Reference, parse_reference
from helixstore.errors import NotFound
from helixstore.values import Format

__all__ = ["BLANK", "Capability", "Entry", "Offer", "Seen"]

#: Stands in the name of a repository or file for the quantisation, spelled as in the list beside it.
BLANK = "{quantization}"


class Capability(StrEnum):
    """What a model can do."""

    CHAT = "chat"
    CODE = "code"
    EMBEDDING = "embedding"
    REASONING = "reasoning"
    TOOLS = "tools"
    VISION = "vision"


@dataclass(frozen=True, slots=True)
class Offer:
    """One place where a model is published in one format.

    Attributes:
        format: how the bytes are to be read.
        at: an exact reference; `{quantization}` in it stands for each of the quantisations.
        quantizations: spelled as the files or repositories spell them; empty where the place itself tells.
        files: the name of the file of one quantisation, with `{quantization}` in it; "" where the place tells.
        cite: where it was seen; "" in the person's own additions.
    """

    format: Format
    at: str
    quantizations: tuple[str, ...] = ()
    files: str = ""
    cite: str = ""

    def reference(self, quantization: str = "") -> Reference:
        """What to fetch.

        Args:
            quantization: one of the list, case does not count; "" for the place's own choice, or the only one.

        Raises:
            NotFound: it is not offered there; or one must be chosen, since each has a repository of its own.
        """
        spelled = next((one for one in self.quantizations if one.upper() == quantization.upper()), "")
        if quantization and self.quantizations and not spelled:
            raise NotFound(f"{self.at} has no {quantization}", f"one of {', '.join(self.quantizations)}")
        if BLANK in self.at and not spelled:
            if len(self.quantizations) != 1:
                raise NotFound(f"{self.at} has a repository for each quantisation",
                               f"name one of {', '.join(self.quantizations)}")
            spelled = self.quantizations[0]
        name = self.at.replace(BLANK, spelled)
        if spelled and self.format is Format.GGUF and BLANK not in self.at and name.startswith("hf:"):
            name = f"{name}:{spelled}"
        found = parse_reference(name)
        assert found is not None                        # the form was checked when it was read
        return found


class Seen(NamedTuple):
    """One thing that an entry says, and the page that shows it.

    Attributes:
        claim: a capability, or the name of a field: context, parameters, active, licence, gated, shape.
        page: its address.
    """

    claim: str
    page: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One model in one size.

    Attributes:
        name: the one it is known by here: lower case, words joined by `-`.
        title: as people write it.
        aliases: other names for it, beside those of its places, which lead to it too.
        can: what it can do, sorted.
        context: tokens that it was made for; 0 where no source tells.
        parameters: all of them; what the source says, rounded as there.
        active: those that each token uses, in a mixture of experts; 0: all.
        licence: as the hub calls it ("apache-2.0", "llama3"); "" where it is not known.
        gated: one of the places asks for consent before it gives the files; False where no source says so. The hub
            tells it at the moment of use.
        shape: what memory follows from; None where no source tells.
        offers: where it is published, the makers' own first.
        seen: where each thing that is said here was seen.
        own: the person's own entry, not the catalogue's.
    """

    name: str
    title: str
    offers: tuple[Offer, ...]
    aliases: tuple[str, ...] = ()
    can: tuple[Capability, ...] = ()
    context: int = 0
    parameters: int = 0
    active: int = 0
    licence: str = ""
    gated: bool = False
    shape: Shape | None = None
    seen: tuple[Seen, ...] = ()
    own: bool = False

    @property
    def claims(self) -> tuple[str, ...]:
        """What is said here of the model: each capability, and the names of the fields that are known."""
        fields = {"context": self.context, "parameters": self.parameters, "active": self.active,
                  "licence": self.licence, "gated": self.gated, "shape": self.shape is not None}
        return (*self.can, *(name for name, known in fields.items() if known))

    @property
    def unseen(self) -> tuple[str, ...]:
        """The claims for which no source is named."""
        shown = {one.claim for one in self.seen}
        return tuple(claim for claim in self.claims if claim not in shown)

    @property
    def formats(self) -> tuple[Format, ...]:
        """In which formats it is published, each once."""
        return tuple(dict.fromkeys(offer.format for offer in self.offers))

    def offers_of(self, format_: Format) -> tuple[Offer, ...]:
        """The places that have it in one format."""
        return tuple(offer for offer in self.offers if offer.format is format_)
