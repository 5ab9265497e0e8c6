------------------------------- MODULE window -------------------------------
(***************************************************************************)
(* Threads that end encoders, and others that use and create them, around  *)
(* -[AGX...ComputeContext destroyImpl], which gives the block behind       *)
(* self->_impl back to the pool.                                           *)
(*                                                                         *)
(* The order of the steps is not written here. Before are the steps of a   *)
(* destroyer up to the lock, Left and Full its steps after it, Skipped     *)
(* those of one that found _impl null at its second test; agxpatch reads   *)
(* them off the machine code and emits one module per version of the       *)
(* function (window_original and so on) that extends this one and defines  *)
(* them. The scenes are those of the checker in proof/interleaving, and    *)
(* both count the same states.                                             *)
(*                                                                         *)
(* Destroyer d ends encoder ((d - 1) % Encoders) + 1; all share one pool   *)
(* with one lock and a freelist of Capacity blocks. A reader uses any      *)
(* encoder. A creator takes a block from the freelist for an encoder of    *)
(* its own, and wipes it after it has released the lock. A null in the     *)
(* freelist is to it what a fresh block is.                                *)
(***************************************************************************)
EXTENDS Naturals, Sequences, FiniteSets

CONSTANTS
    Before,       \* the steps of a destroyer up to the lock
    Skipped,      \* the steps of one whose "load-or-skip" finds null
    Left,         \* the steps of one that finds room in the freelist
    Full,         \* the steps of one that finds it full
    Destroyers,   \* how many threads end an encoder
    Encoders,     \* how many encoders they end
    Readers,      \* how many threads use one
    ReadersLock,  \* whether readers take the lock and look for null
    Capacity      \* how many blocks the freelist holds

VARIABLES
    path,       \* of each destroyer: "before", "left", "full", "skipped", "returned"
    next,       \* of each destroyer: the number of its next step on that path
    has,        \* of each destroyer: whether its last load of _impl found a block
    impl,       \* of each encoder: whether _impl points at its block
    destroyed,  \* of each encoder: how often the destructor began on its block
    pushed,     \* of each encoder: how often its block was pushed
    freed,      \* of each encoder: how often its block was freed
    lock,       \* 0, or the number of the thread that holds it
    reader,     \* of each reader: "idle", "locked", "using" or "done"
    loaded,     \* of each reader: the encoder whose block it works on, 0 for null
    creator,    \* "idle", "locked", "popped", "wiping" or "done"
    got,        \* the encoder whose block the creator was given, 0 for none of them
    others      \* entries of the freelist that are the block of none of them

vars == << path, next, has, impl, destroyed, pushed, freed, lock,
           reader, loaded, creator, got, others >>

D == 1..Destroyers
E == 1..Encoders
R == 1..Readers
Enc(d) == ((d - 1) % Encoders) + 1
ReaderId(r) == Destroyers + r
CreatorId == Destroyers + Readers + 1

Steps(d) ==
    CASE path[d] = "before" -> Before
      [] path[d] = "left" -> Left
      [] path[d] = "full" -> Full
      [] path[d] = "skipped" -> Skipped
      [] OTHER -> << >>
Done(d) == next[d] > Len(Steps(d))
Through(d) == path[d] # "before" /\ Done(d)
Given(e) == pushed[e] + freed[e]

\* How many entries of the freelist are the block of an encoder, and of any.
Entries(e) == pushed[e] - (IF got = e THEN 1 ELSE 0)
Of(e) == IF e \in E THEN Entries(e) ELSE 0
Count == others + Of(1) + Of(2) + Of(3) + Of(4) + Of(5)

Init ==
    /\ path = [d \in D |-> "before"]
    /\ next = [d \in D |-> 1]
    /\ has = [d \in D |-> TRUE]
    /\ impl = [e \in E |-> TRUE]
    /\ destroyed = [e \in E |-> 0]
    /\ pushed = [e \in E |-> 0]
    /\ freed = [e \in E |-> 0]
    /\ lock = 0
    /\ reader = [r \in R |-> "idle"]
    /\ loaded = [r \in R |-> 0]
    /\ creator = "idle"
    /\ got = 0
    /\ others \in 0..Capacity

-----------------------------------------------------------------------------
(* A destroyer *)

\* It goes on along its path, or to the beginning of another one.
On(d) == next' = [next EXCEPT ![d] = @ + 1] /\ UNCHANGED path
To(d, other) == path' = [path EXCEPT ![d] = other] /\ next' = [next EXCEPT ![d] = 1]

Elsewhere == UNCHANGED << reader, loaded, creator, got >>

Load(d) ==
    /\ has' = [has EXCEPT ![d] = impl[Enc(d)]]
    /\ On(d)
    /\ Elsewhere /\ UNCHANGED << impl, destroyed, pushed, freed, lock, others >>

LoadOrReturn(d) ==
    /\ has' = [has EXCEPT ![d] = impl[Enc(d)]]
    /\ IF impl[Enc(d)] THEN On(d) ELSE To(d, "returned")
    /\ Elsewhere /\ UNCHANGED << impl, destroyed, pushed, freed, lock, others >>

LoadOrSkip(d) ==
    /\ has' = [has EXCEPT ![d] = impl[Enc(d)]]
    /\ IF impl[Enc(d)] THEN On(d) ELSE To(d, "skipped")
    /\ Elsewhere /\ UNCHANGED << impl, destroyed, pushed, freed, lock, others >>

\* Under the lock; a thread that finds null goes on as one that finds no room.
LoadOrFull(d) ==
    /\ has' = [has EXCEPT ![d] = impl[Enc(d)]]
    /\ path' = [path EXCEPT ![d] = IF impl[Enc(d)] THEN @ ELSE "full"]
    /\ next' = [next EXCEPT ![d] = @ + 1]
    /\ Elsewhere /\ UNCHANGED << impl, destroyed, pushed, freed, lock, others >>

TakeOrSkip(d) ==
    /\ has' = [has EXCEPT ![d] = impl[Enc(d)]]
    /\ impl' = [impl EXCEPT ![Enc(d)] = FALSE]
    /\ IF impl[Enc(d)] THEN On(d) ELSE To(d, "skipped")
    /\ Elsewhere /\ UNCHANGED << destroyed, pushed, freed, lock, others >>

\* A thread whose block is null does not survive the destructor.
Destroy(d) ==
    /\ has[d]
    /\ destroyed' = [destroyed EXCEPT ![Enc(d)] = @ + 1]
    /\ On(d)
    /\ Elsewhere /\ UNCHANGED << has, impl, pushed, freed, lock, others >>

\* It takes the lock and compares the count with the capacity.
Lock(d) ==
    /\ lock = 0
    /\ lock' = d
    /\ IF Count >= Capacity THEN To(d, "full") ELSE To(d, "left")
    /\ Elsewhere /\ UNCHANGED << has, impl, destroyed, pushed, freed, others >>

Push(d) ==
    /\ pushed' = [pushed EXCEPT ![Enc(d)] = IF has[d] THEN @ + 1 ELSE @]
    /\ others' = IF has[d] THEN others ELSE others + 1
    /\ On(d)
    /\ Elsewhere /\ UNCHANGED << has, impl, destroyed, freed, lock >>

Clear(d) ==
    /\ impl' = [impl EXCEPT ![Enc(d)] = FALSE]
    /\ On(d)
    /\ Elsewhere /\ UNCHANGED << has, destroyed, pushed, freed, lock, others >>

Unlock(d) ==
    /\ lock' = IF lock = d THEN 0 ELSE lock
    /\ On(d)
    /\ Elsewhere /\ UNCHANGED << has, impl, destroyed, pushed, freed, others >>

Free(d) ==
    /\ freed' = [freed EXCEPT ![Enc(d)] = IF has[d] THEN @ + 1 ELSE @]
    /\ On(d)
    /\ Elsewhere /\ UNCHANGED << has, impl, destroyed, pushed, lock, others >>

Does(d, what) ==
    CASE what = "load" -> Load(d)
      [] what = "load-or-return" -> LoadOrReturn(d)
      [] what = "load-or-skip" -> LoadOrSkip(d)
      [] what = "load-or-full" -> LoadOrFull(d)
      [] what = "take-or-skip" -> TakeOrSkip(d)
      [] what = "destroy" -> Destroy(d)
      [] what = "lock" -> Lock(d)
      [] what = "push" -> Push(d)
      [] what = "clear" -> Clear(d)
      [] what = "unlock" -> Unlock(d)
      [] what = "free" -> Free(d)

Destroyer(d) == ~Done(d) /\ Does(d, Steps(d)[next[d]])

-----------------------------------------------------------------------------
(* A reader *)

Blocks == UNCHANGED << path, next, has, impl, destroyed, pushed, freed >>

ReaderLocks(r) ==
    /\ ReadersLock
    /\ reader[r] = "idle"
    /\ lock = 0
    /\ lock' = ReaderId(r)
    /\ reader' = [reader EXCEPT ![r] = "locked"]
    /\ Blocks /\ UNCHANGED << loaded, creator, got, others >>

ReaderLoads(r, e) ==
    /\ reader[r] = IF ReadersLock THEN "locked" ELSE "idle"
    /\ reader' = [reader EXCEPT ![r] = "using"]
    /\ loaded' = [loaded EXCEPT ![r] = IF impl[e] THEN e ELSE 0]
    /\ Blocks /\ UNCHANGED << lock, creator, got, others >>

ReaderLeaves(r) ==
    /\ reader[r] = "using"
    /\ reader' = [reader EXCEPT ![r] = "done"]
    /\ loaded' = [loaded EXCEPT ![r] = 0]
    /\ lock' = IF ReadersLock THEN 0 ELSE lock
    /\ Blocks /\ UNCHANGED << creator, got, others >>

-----------------------------------------------------------------------------
(* The creator of another encoder *)

CreatorLocks ==
    /\ creator = "idle"
    /\ lock = 0
    /\ lock' = CreatorId
    /\ creator' = "locked"
    /\ Blocks /\ UNCHANGED << reader, loaded, got, others >>

CreatorPops(e) ==
    /\ creator = "locked"
    /\ Entries(e) > 0
    /\ got' = e
    /\ creator' = "popped"
    /\ Blocks /\ UNCHANGED << lock, reader, loaded, others >>

\* The block of no encoder here: from the freelist, or a fresh one if that is empty.
CreatorPopsAnother ==
    /\ creator = "locked"
    /\ others > 0 \/ Count = 0
    /\ others' = IF others > 0 THEN others - 1 ELSE 0
    /\ creator' = "popped"
    /\ Blocks /\ UNCHANGED << lock, reader, loaded, got >>

CreatorUnlocks ==
    /\ creator = "popped"
    /\ creator' = "wiping"
    /\ lock' = 0
    /\ Blocks /\ UNCHANGED << reader, loaded, got, others >>

CreatorWipes ==
    /\ creator = "wiping"
    /\ creator' = "done"
    /\ Blocks /\ UNCHANGED << lock, reader, loaded, got, others >>

-----------------------------------------------------------------------------
Next ==
    \/ \E d \in D : Destroyer(d)
    \/ \E r \in R : ReaderLocks(r) \/ ReaderLeaves(r) \/ (\E e \in E : ReaderLoads(r, e))
    \/ CreatorLocks \/ (\E e \in E : CreatorPops(e)) \/ CreatorPopsAnother
    \/ CreatorUnlocks \/ CreatorWipes

Spec == Init /\ [][Next]_vars

-----------------------------------------------------------------------------
(* What is asked of every state *)

Using(r) == reader[r] = "using"

\* Never is the lock free and a block given back while _impl points at it.
NoRaceWindow == \A e \in E : lock = 0 /\ Given(e) > 0 => ~impl[e]

\* Never does a reader work on a block that was given back ...
NoStaleUse == \A r \in R : Using(r) /\ loaded[r] # 0 => Given(loaded[r]) = 0

\* ... or whose destructor has run ...
NoUseAfterDestructor == \A r \in R : Using(r) /\ loaded[r] # 0 => destroyed[loaded[r]] = 0

\* ... or on null, nor does the destructor. Readers that take the lock look before
\* they work.
NoNullUse ==
    /\ \A r \in R : Using(r) /\ loaded[r] = 0 => ReadersLock
    /\ \A d \in D : ~has[d] /\ ~Done(d) => Steps(d)[next[d]] # "destroy"

\* Where every thread that ends an encoder is through, the block was given back.
NoLeak == \A e \in E : (\A d \in D : Enc(d) = e => Through(d)) => Given(e) > 0

\* No block is pushed twice, or freed and given back once more, or destroyed twice.
NoDoublePush == \A e \in E : pushed[e] <= 1
NoDoubleFree == \A e \in E : freed[e] > 0 => Given(e) = 1
NoDoubleDestructor == \A e \in E : destroyed[e] <= 1

\* How often a destroyer has released the lock follows from how far it is.
Unlocks(d) == Cardinality({ n \in 1..(next[d] - 1) : Steps(d)[n] = "unlock" })

\* A thread that took the lock and is through released it once, and no thread
\* does it twice.
UnlockOnce ==
    \A d \in D :
        /\ Unlocks(d) <= 1
        /\ Through(d) /\ path[d] \in {"left", "full"} => Unlocks(d) = 1
=============================================================================
