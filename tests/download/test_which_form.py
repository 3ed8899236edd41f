"""Which form of a model is taken, and by whom it can be run: pure, over sizes and sets."""

from __future__ import annotations

import itertools
import random

import pytest

from helixstore.catalogue import Shape
from helixstore.download.choosing import Package
from helixstore.download.covering import Candidate, cover
from helixstore.download.fitting import fits, would_fit
from helixstore.hardware import Gpu, Hardware
from helixstore.hub.remote import RemoteFile
from helixstore.hub.repository import HubAddress
from helixstore.values import Family, Format

GB = 10**9
#: as published for a model of eight thousand million parameters
SIZES = {"IQ2_XXS": 2.4, "Q3_K_M": 4.0, "Q4_0": 4.7, "Q4_K_M": 4.9, "Q6_K": 6.6, "Q8_0": 8.5, "F16": 16.1, "F32": 32.1}
LLAMA = Shape(32, 8, 128, None, 4096, 128_256)


def forms(**sizes: float) -> list[Package]:
    return [Package(Family.GGUF, name, (RemoteFile(f"m-{name}.gguf", int(size * GB), "0" * 64, None,
                                                   HubAddress("a/b", "0" * 40, "m")),), ())
            for name, size in (sizes or SIZES).items()]


def order(hardware: Hardware, context: int = 8192, **sizes: float) -> list[str]:
    return [f"{fit.form.quantization}{'' if fit.room else '!'}"
            for fit in fits(forms(**sizes), LLAMA, hardware, context)]


def test_the_largest_that_fits_but_nothing_finer_than_eight_bits_comes_first() -> None:
    assert order(Hardware(64 * GB)) == ["Q8_0", "Q6_K", "Q4_K_M", "Q4_0", "Q3_K_M", "IQ2_XXS", "F16", "F32"]
    assert order(Hardware(16 * GB))[:5] == ["Q8_0", "Q6_K", "Q4_K_M", "Q4_0", "Q3_K_M"]
    assert order(Hardware(10 * GB))[:3] == ["Q4_K_M", "Q4_0", "Q3_K_M"]
    assert order(Hardware(7 * GB)) == ["IQ2_XXS", "Q3_K_M!", "Q4_0!", "Q4_K_M!", "Q6_K!", "Q8_0!", "F16!", "F32!"]


def test_a_long_context_takes_room_from_the_weights() -> None:
    assert order(Hardware(16 * GB), 8192)[0] == "Q8_0"
    assert order(Hardware(16 * GB), 32768)[0] == "Q6_K"


def test_what_fits_the_card_comes_before_what_is_finer_and_slow_unless_it_is_below_four_bits() -> None:
    card = Hardware(64 * GB, (Gpu("cuda", "a card", 8 * GB),))
    assert order(card)[:5] == ["Q4_K_M", "Q4_0", "Q8_0", "Q6_K", "Q3_K_M"]
    assert order(Hardware(64 * GB, (Gpu("cuda", "small", 5 * GB),)))[0] == "Q8_0"
    assert order(Hardware(64 * GB, (Gpu("cuda", "one", 8 * GB), Gpu("cuda", "two", 8 * GB))))[0] == "Q8_0"


def test_sixteen_bits_are_taken_where_there_is_nothing_else() -> None:
    assert order(Hardware(64 * GB), F16=16.1, F32=32.1) == ["F16", "F32"]


def test_the_word_of_the_person_counts_instead_of_what_is_there() -> None:
    assert order(Hardware(4 * GB, limit=12 * GB))[0] == "Q8_0"
    assert order(Hardware(64 * GB, (Gpu("cuda", "card", 24 * GB),), limit=6 * GB))[0] == "Q3_K_M"


def test_where_nothing_is_known_everything_fits() -> None:
    assert order(Hardware(0))[0] == "Q8_0"


def test_a_conversion_that_would_fit_is_the_finest_that_does() -> None:
    ggufs, vllm, mlx = [Format.GGUF], [Format.HF, Format.AWQ, Format.GPTQ], [Format.MLX, Format.HF]

    def found(memory: float, formats: list[Format]) -> tuple[Format, str] | None:
        return would_fit(8_030_261_248, LLAMA, Hardware(int(memory * GB)), formats)

    assert found(16, ggufs) == (Format.GGUF, "Q8_0")
    assert found(8, ggufs) == (Format.GGUF, "Q3_K_M")
    assert found(2, ggufs) is None
    assert found(16, vllm) == (Format.GPTQ, "int8")
    assert found(10, vllm) == (Format.AWQ, "int4") or found(10, vllm) == (Format.GPTQ, "int4")
    assert found(16, mlx) == (Format.MLX, "8bit")
    assert found(8, mlx) == (Format.MLX, "4bit")
    assert found(16, [Format.HF]) is None, "as it is made is not made smaller"
    assert found(16, [*ggufs, *mlx]) == (Format.GGUF, "Q8_0")
    assert would_fit(0, LLAMA, Hardware(16 * GB), ggufs) is None


def served(*groups: str) -> list[Candidate]:
    """`5:abc`: five bytes serve a, b and c."""
    return [Candidate(int(text.partition(":")[0]), frozenset(text.partition(":")[2])) for text in groups]


@pytest.mark.parametrize(("given", "wanted"), [
    ((), []),
    (("5:",), []),
    (("5:abc", "4:ab", "16:bd"), [0, 2]),
    (("5:abc", "16:abcd"), [1]),
    (("5:abc", "5:abc"), [0]),
    (("9:abcd", "4:ab", "4:cd"), [1, 2]),
    (("8:abcd", "4:ab", "4:cd"), [0]),
])
def test_the_fewest_bytes_that_serve_everybody_who_can_be(given: tuple[str, ...], wanted: list[int]) -> None:
    assert cover(served(*given)) == wanted


def test_no_other_set_serves_as_many_with_less() -> None:
    random_ = random.Random(7)
    for _ in range(200):
        candidates = [Candidate(random_.randint(0, 20), frozenset(random_.sample("abcdef", random_.randint(0, 4))))
                      for _ in range(random_.randint(0, 7))]
        chosen = cover(candidates)
        everybody = frozenset().union(*(one.served for one in candidates))
        cost = sum(candidates[number].bytes for number in chosen)
        assert frozenset().union(*(candidates[number].served for number in chosen)) == everybody
        for count in range(len(candidates) + 1):
            for other in itertools.combinations(candidates, count):
                if frozenset().union(*(one.served for one in other)) == everybody:
                    assert sum(one.bytes for one in other) >= cost


def test_many_candidates_are_covered_too() -> None:
    candidates = [Candidate(number + 1, frozenset({chr(97 + number), chr(98 + number)})) for number in range(20)]
    chosen = cover(candidates)
    assert frozenset().union(*(candidates[number].served for number in chosen)) == {chr(97 + n) for n in range(21)}
