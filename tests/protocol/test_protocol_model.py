"""Several hosts on one store, with stale caches, pauses of any length and deaths at any step, in a model that runs the
real decisions (`gc_rules`) in the real order (`gc_round`): what a host relies on is never gone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from actors import Actor
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from simulated import LEASE, SECOND, STALE, File, Seat, Server

from helixstore.store.gc_round import finish, go_round
from helixstore.store.gc_rules import Terms
from helixstore.store.hosts import SETTLE, Expiry, Forgotten, LastSeen
from support.soak import many, note

HOUR = 3600 * SECOND
GRACE, UNDO = 24 * HOUR, 7 * 24 * HOUR
TERMS = Terms(GRACE, UNDO, SETTLE * SECOND)
HOSTS = ("a", "b", "ci")
PAUSES = (1, STALE // SECOND // 2, STALE // SECOND - 5, STALE // SECOND + 5, SETTLE - 5, SETTLE + 5, 2 * SETTLE, 3600,
          LEASE // SECOND - 60, LEASE // SECOND + SETTLE + 5, 86_400, 8 * 86_400)


@dataclass
class Promise:
    """What a host relies on: it found the blob, after the claim that names it was durable."""

    host: str
    digest: str
    place: str                      # "refs" or "keeps"
    name: str
    linked: bool = False


class Protocol(RuleBasedStateMachine):
    """See the module. `teardown` is called at the end of each history."""

    def __init__(self) -> None:
        super().__init__()
        self.server = Server()
        self.seats = {name: Seat(self.server, name, ephemeral=name == "ci") for name in HOSTS}
        self.actors: list[Actor] = []
        self.promises: list[Promise] = []
        self.forgotten: dict[str, int] = {}
        self.answered: dict[str, int] = {}
        self.told: list[str] = []

    # ---- what processes do -----------------------------------------------------------------------------------------

    def greet(self, seat: Seat) -> None:
        """What each command does first: renew the lease, and claim anew where the host was forgotten."""
        lapsed = False
        if seat.ephemeral:
            seen = self.server.of("seen").get(seat.name)
            lapsed = seen is not None and self.server.now > seen.mtime + LEASE
            seat.replace("seen", seat.name, seat.write(LEASE))
        records = [file.mtime for file in seat.list("forgotten").values() if file.says == seat.name]
        last = max(records, default=0)
        if last <= self.answered.get(seat.name, 0) and not lapsed:
            return
        mine = {ref.uuid: ref for ref in seat.refs() if ref.host == seat.name}
        gone = {old for ref in mine.values() for old in ref.supersedes}
        for name, ref in mine.items():
            if name in gone or ref.manifest is None:
                continue
            fresh = seat.claim(ref.manifest, [name]) if ref.mtime_ns <= last else name
            self.again(seat, ref.manifest, "refs", name, fresh)
        for name, file in seat.list(f"keeps/{seat.name}").items():
            digests = file.says
            assert isinstance(digests, frozenset)
            if file.mtime <= last:
                seat.keep(name, digests)
            for digest in digests:
                self.again(seat, digest, "keeps", name, name)
        self.answered[seat.name] = max(last, self.answered.get(seat.name, 0))

    def again(self, seat: Seat, digest: str, place: str, old: str, new: str) -> None:
        linked = any(p.name == old and p.linked for p in self.promises)
        self.promises = [p for p in self.promises if not (p.place == place and p.name == old and p.digest == digest)]
        if seat.ensure(digest):
            self.promises.append(Promise(seat.name, digest, place, new, linked))
        else:
            self.told.append(f"{seat.name} has lost {digest}")

    def add(self, seat: Seat, digest: str, how: str, hard: bool) -> None:
        """`how`: "new" (the bytes are at hand), "known" (only the store has them), "swap" (a person's copy gives way to
        a link, under a keep)."""
        self.greet(seat)
        work = f"{seat.name}-{self.server.fresh()}"
        seat.create("staging", work, File(None, self.server.now))
        if how == "swap":
            seat.keep(work, {digest})
            if not seat.ensure(digest):
                seat.drop(work)
                seat.unlink("staging", work)
                return
            self.promises.append(Promise(seat.name, digest, "keeps", work, True))
        if how == "new" and seat.open("blobs", digest) is None:
            seat.create("blobs", digest, seat.write(digest))
        name = self.publish(seat, digest)
        while not seat.ensure(digest):
            if how != "new":
                self.told.append(f"{seat.name} has not found {digest}")
                seat.claim(None, [name])
                seat.unlink("staging", work)
                return
            seat.create("blobs", digest, seat.write(digest))
        self.promises.append(promise := Promise(seat.name, digest, "refs", name))
        if hard:
            if (file := seat.open("blobs", digest)) is not None and file.names:
                file.names += 1
        else:
            promise.linked = True
        seat.unlink("staging", work)

    def publish(self, seat: Seat, digest: str) -> str:
        """A ref that nobody has forgotten while it was on its way."""
        while True:
            before = self.own(seat, digest)
            name = seat.claim(digest, before)
            records = [file.mtime for file in seat.list("forgotten").values() if file.says == seat.name]
            if self.server.of(f"refs/{seat.name}")[name].mtime > max(records, default=0):
                self.promises = [p for p in self.promises if not (p.place == "refs" and p.name in before)]
                return name

    def own(self, seat: Seat, digest: str) -> list[str]:
        """Refs of this host's that a new one is to supersede: it knows them, having written them."""
        return [name for name, file in self.server.of(f"refs/{seat.name}").items()
                if isinstance(file.says, tuple) and file.says[0] == digest]

    def remove(self, seat: Seat, digest: str) -> None:
        """Links go first; `undo` keeps the blob. Nobody looks for it again: what the ref had found is relied on."""
        self.greet(seat)
        mine = [p for p in self.promises if p.host == seat.name and p.digest == digest and p.place == "refs"]
        if not mine:
            return
        operation = f"op-{self.server.fresh()}"
        seat.keep(operation, {digest})
        for promise in mine:
            promise.linked = False
        if any(p in self.promises for p in mine):
            self.promises.append(Promise(seat.name, digest, "keeps", operation))
        seat.claim(None, self.own(seat, digest))
        self.promises = [p for p in self.promises if p not in mine]

    def undo(self, seat: Seat, promise: Promise) -> None:
        """Back from a keep to a ref; then the keep goes."""
        self.greet(seat)
        if promise not in self.promises:
            return
        name = self.publish(seat, promise.digest)
        found = seat.ensure(promise.digest)
        assert found or not self.counts(promise), f"{promise} is gone, as {seat.name} sees it"
        if found:
            self.promises.append(Promise(seat.name, promise.digest, "refs", name, True))
        self.promises = [p for p in self.promises if p is not promise]
        seat.drop(promise.name)

    def let_go(self, seat: Seat, promise: Promise) -> None:
        """The undo window of an operation is over."""
        self.promises = [p for p in self.promises if p is not promise]
        seat.drop(promise.name)

    def collect(self, seat: Seat, now: bool) -> None:
        self.greet(seat)
        work = f"{seat.name}-{self.server.fresh()}"
        seat.create("staging", work, File(None, self.server.now))
        seat.busy_with, seat.alone = work, now
        if not (now and seat.others()):
            terms = TERMS._replace(own=lambda digest: True) if now else TERMS
            go_round(seat, terms, f"e{self.server.fresh():06}")
        seat.unlink("staging", work)

    def restore(self, seat: Seat, digest: str) -> None:
        """`trash restore`."""
        if seat.ensure(digest):
            seat.note(absolved=[digest])

    # ---- rules -----------------------------------------------------------------------------------------------------

    def start(self, name: str, work: object) -> None:
        assert callable(work)
        self.actors = [actor for actor in self.actors if not actor.ended]
        if len(self.actors) < 5:
            self.actors.append(Actor(name, work))

    @initialize(looks=st.lists(st.sampled_from(HOSTS), max_size=3), ripe=st.booleans())
    def begin_with_what_is_due(self, looks: list[str], ripe: bool) -> None:
        self.begin(looks, ripe)

    def begin(self, looks: Sequence[str], ripe: bool) -> None:
        """A blob without a claim, condemned long enough to be moved, which some hosts have just looked at."""
        seat = self.seats["a"]
        seat.create("blobs", "x", File("x", self.server.now))
        if ripe:
            seat.note(condemned=["x"])
            self.server.now += GRACE + SECOND
        for name in looks:
            self.seats[name].look_everywhere()

    @rule(host=st.sampled_from(HOSTS), how=st.sampled_from(("new", "known", "known", "swap")),
          hard=st.sampled_from((False, False, False, True)))
    def add_(self, host: str, how: str, hard: bool) -> None:
        seat = self.seats[host].process()
        self.start(f"{host} adds, {how}", lambda: self.add(seat, "x", how, hard))

    @rule(host=st.sampled_from(HOSTS), now=st.booleans())
    def collect_(self, host: str, now: bool) -> None:
        seat = self.seats[host].process()
        self.start(f"{host} collects, now={now}", lambda: self.collect(seat, now))

    @rule(host=st.sampled_from(HOSTS), what=st.sampled_from(("remove", "remove", "finish", "restore")))
    def also(self, host: str, what: str) -> None:
        seat = self.seats[host].process()
        work = {"remove": lambda: self.remove(seat, "x"), "finish": lambda: finish(seat, TERMS),
                "restore": lambda: self.restore(seat, "x")}[what]
        self.start(f"{host}: {what}", work)

    @precondition(lambda self: any(p.place == "keeps" for p in self.promises))
    @rule(data=st.data(), undo=st.booleans())
    def undo_(self, data: st.DataObject, undo: bool) -> None:
        promise = data.draw(st.sampled_from([p for p in self.promises if p.place == "keeps"]))
        seat = self.seats[promise.host].process()
        what = self.undo if undo else self.let_go
        self.start(f"{promise.host} undoes {promise.name}: {undo}", lambda: what(seat, promise))

    @precondition(lambda self: any(not actor.ended for actor in self.actors))
    @rule(data=st.data(), until=st.sampled_from(
        ("", "rename", "unlink", "create", "list refs", "list keeps", "open blobs", "end", "end", "end")))
    def step(self, data: st.DataObject, until: str) -> None:
        """One of them goes on: by one call, until just before such a call, or to its end."""
        self.go_on(data.draw(st.sampled_from([actor for actor in self.actors if not actor.ended])), until)

    def go_on(self, actor: Actor, until: str) -> None:
        while actor.step():
            self.check()
            if actor.at.startswith(until):
                break

    @precondition(lambda self: any(not actor.ended for actor in self.actors))
    @rule(data=st.data())
    def die(self, data: st.DataObject) -> None:
        actor = data.draw(st.sampled_from([actor for actor in self.actors if not actor.ended]))
        actor.kill()

    @rule(seconds=st.sampled_from(PAUSES))
    def wait(self, seconds: int) -> None:
        self.server.now += seconds * SECOND
        for name in [name for name, file in self.server.of("staging").items()
                     if file.mtime < self.server.now - 30 * 24 * HOUR]:
            del self.server.of("staging")[name]

    @rule(host=st.sampled_from(HOSTS))
    def look(self, host: str) -> None:
        self.seats[host].look_everywhere()

    @rule(host=st.sampled_from(("a", "b")))
    def forget(self, host: str) -> None:
        """Its owner forgets a host, which may well be at work."""
        self.server.of("forgotten")[f"{host}-{self.server.fresh()}"] = File(host, self.server.now, 1)
        self.forgotten[host] = self.server.now
        self.server.now += 1

    # ---- what must hold --------------------------------------------------------------------------------------------

    def counts(self, promise: Promise) -> bool:
        """Whether the claim counts, as things really are; of a lease without the time that others add to it."""
        file = self.server.of(f"{promise.place}/{promise.host}").get(promise.name)
        if file is None:
            return False
        forgotten = tuple(Forgotten(name, str(record.says), None, record.mtime)
                          for name, record in self.server.of("forgotten").items())
        seen = tuple(LastSeen(host, 0, record.mtime, "", "", LEASE) for host, record in self.server.of("seen").items())
        return not Expiry(forgotten, seen, self.server.now + SETTLE * SECOND).over(promise.host, 0, file.mtime)

    @invariant()
    def check(self) -> None:
        """No bytes that a host relies on are gone."""
        for promise in list(self.promises):
            if not self.counts(promise):
                self.promises.remove(promise)
            else:
                assert self.server.holds(promise.digest), f"{promise} is gone; {self.actors}"

    def teardown(self) -> None:
        """When nobody does anything more, every link leads somewhere again, and what nobody claims goes."""
        note("protocol: any history", {"histories": 1})
        for actor in self.actors:
            actor.kill()
        self.check()
        seat = self.seats["a"]
        for wait in (STALE + SECOND, SETTLE * SECOND + SECOND):
            self.server.now += wait
            finish(seat, TERMS)
            self.check()
        for promise in self.promises:
            assert not promise.linked or self.server.holds(promise.digest) == "blobs", f"the link of {promise} dangles"
        for wait in (STALE + SECOND, GRACE, SETTLE * SECOND, UNDO, STALE + SECOND, UNDO, SETTLE * SECOND):
            self.server.now += wait + SECOND
            go_round(seat, TERMS, f"e{self.server.fresh():06}")
            self.check()
        self.server.now += STALE + SECOND
        claimed = seat.claims().digests
        names = {file for file in self.server.of("blobs") if self.server.of("blobs")[file].names == 1}
        assert names <= claimed, "what nobody claims stays for ever"
        assert all(self.server.of(f"trash/{epoch}").keys() <= claimed for epoch in self.server.of("trash"))


def test_no_two_readings_at_once_are_enough() -> None:
    """A claim moves from a ref to a keep while two collectors read; neither sees it. What the first notes, the second
    must not act on: it read at the same time."""
    world = Protocol()
    world.begin(HOSTS, ripe=True)
    one, other, third = (world.seats[name] for name in HOSTS)
    world.collect(one, now=False)
    assert world.server.holds("x") == "trash"
    world.add(other, "x", "known", hard=False)
    assert world.promises, "it was not found by a stale cache"
    world.server.now += UNDO + SECOND
    for seat in (one, third):
        seat.forget_cache()
        seat.list("keeps")                              # and the refs a moment later
    world.remove(other, "x")
    finish(one, TERMS)
    for terms in (TERMS, TERMS._replace(own=lambda digest: True)):
        go_round(third, terms, f"e{world.server.fresh():06}")
        world.check()
    world.teardown()


PROFILE = settings(max_examples=many(100, 20_000), stateful_step_count=30, deadline=None,
                   suppress_health_check=list(HealthCheck))
TestProtocol = Protocol.TestCase
TestProtocol.settings = PROFILE


STOPS = ("", "", "rename", "unlink", "create refs", "create condemned", "list refs", "list keeps", "list staging",
         "open blobs", "clock", "end", "end")


@settings(max_examples=many(150, 20_000), deadline=None,
          suppress_health_check=list(HealthCheck))
@given(now=st.booleans(), how=st.sampled_from(("new", "known", "swap")),
       also=st.lists(st.sampled_from(("collect", "now", "finish", "remove", "known", "restore")), max_size=2),
       turns=st.lists(st.one_of(st.tuples(st.integers(0, 3), st.sampled_from(STOPS)),
                                st.tuples(st.just(-1), st.sampled_from(PAUSES))), min_size=3, max_size=10))
def test_one_who_claims_beside_collections(now: bool, how: str, also: list[str],
                                           turns: list[tuple[int, object]]) -> None:
    """The heart of it: everybody's caches are full, a blob is due, and somebody on another host claims it just now."""
    note("protocol: a claim beside collections", {"histories": 1})
    world = Protocol()
    try:
        world.begin(HOSTS, ripe=True)
        one, other = world.seats["a"], world.seats["b"]
        world.start("a collects", lambda: world.collect(one.process(), now))
        world.start("b claims", lambda: world.add(other.process(), "x", how, False))
        for what in also:
            seat = world.seats["ci" if what in ("collect", "now") else "b"].process()
            world.start(what, {
                "collect": lambda seat=seat: world.collect(seat, False),
                "now": lambda seat=seat: world.collect(seat, True),
                "finish": lambda seat=seat: finish(seat, TERMS), "remove": lambda seat=seat: world.remove(seat, "x"),
                "known": lambda seat=seat: world.add(seat, "x", "known", False),
                "restore": lambda seat=seat: world.restore(seat, "x")}[what])
        for which, what in turns:
            if which < 0:
                assert isinstance(what, int)
                world.server.now += what * SECOND
            elif which < len(world.actors):
                world.go_on(world.actors[which], str(what))
            world.check()
        for actor in world.actors:
            world.go_on(actor, "end")
    finally:
        world.teardown()
