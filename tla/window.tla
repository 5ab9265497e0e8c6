------------------------------- MODULE window -------------------------------
(***************************************************************************)
(* Threads that end encoders, and others that use them, around the window  *)
(* of -[AGX...ComputeContext destroyImpl] that gives the block behind      *)
(* self->_impl back to the pool.                                           *)
(*                                                                         *)
(* The order of the steps is not written here. Left and Full are the steps *)
(* on the two paths; agxpatch reads them off the machine code and emits    *)
(* one module per version of the window (window_original and so on) that   *)
(* extends this one and defines them. The scene is that of the checker in  *)
(* src/proof/interleaving, and both count the same states.                 *)
(*                                                                         *)
(* Each destroyer ends an encoder of its own; all share one pool with one  *)
(* lock and a freelist of Capacity blocks. A reader uses any encoder. A    *)
(* creator takes a block from the freelist for an encoder of its own.      *)
(***************************************************************************)
EXTENDS Naturals, Sequences, FiniteSets

CONSTANTS
    Left,         \* the steps of a destroyer that finds room in the freelist
    Full,         \* the steps of one that finds it full
    Destroyers,   \* how many end an encoder
    Readers,      \* how many use one
    ReadersLock,  \* whether readers take the lock and look for null
    Capacity      \* how many blocks the freelist holds

VARIABLES
    path,     \* of each destroyer: "outside" until it has the lock, then its path
    next,     \* of each destroyer: the number of its next step
    impl,     \* of each encoder: whether _impl points at its block
    block,    \* of each encoder: "held", "pool", "taken" or "freed"
    given,    \* of each encoder: how often its block was given back
    unlocks,  \* of each destroyer: how often it released the lock
    lock,     \* 0, or the number of the thread that holds it
    reader,   \* of each reader: "idle", "locked", "using" or "done"
    loaded,   \* of each reader: the encoder whose block it works on, 0 for null
    creator,  \* as reader
    got,      \* the encoder whose block the creator was given, 0 for nobody's
    others    \* blocks in the freelist that belong to none of the encoders

vars == << path, next, impl, block, given, unlocks, lock,
           reader, loaded, creator, got, others >>

D == 1..Destroyers
R == 1..Readers
ReaderId(r) == Destroyers + r
CreatorId == Destroyers + Readers + 1

Steps(d) == IF path[d] = "left" THEN Left ELSE Full
Inside(d) == path[d] # "outside"
Through(d) == Inside(d) /\ next[d] > Len(Steps(d))
Pooled == { d \in D : block[d] = "pool" }
Count == others + Cardinality(Pooled)

Init ==
    /\ path = [d \in D |-> "outside"]
    /\ next = [d \in D |-> 0]
    /\ impl = [d \in D |-> TRUE]
    /\ block = [d \in D |-> "held"]
    /\ given = [d \in D |-> 0]
    /\ unlocks = [d \in D |-> 0]
    /\ lock = 0
    /\ reader = [r \in R |-> "idle"]
    /\ loaded = [r \in R |-> 0]
    /\ creator = "idle"
    /\ got = 0
    /\ others \in 0..Capacity

-----------------------------------------------------------------------------
(* A destroyer *)

\* It takes the lock and compares the count with the capacity.
Enter(d) ==
    /\ path[d] = "outside"
    /\ lock = 0
    /\ lock' = d
    /\ path' = [path EXCEPT ![d] = IF Count >= Capacity THEN "full" ELSE "left"]
    /\ next' = [next EXCEPT ![d] = 1]
    /\ UNCHANGED << impl, block, given, unlocks, reader, loaded, creator, got, others >>

Does(d, what) ==
    /\ Inside(d)
    /\ next[d] <= Len(Steps(d))
    /\ Steps(d)[next[d]] = what
    /\ next' = [next EXCEPT ![d] = @ + 1]
    /\ UNCHANGED << path, reader, loaded, creator, got, others >>

Push(d) ==
    /\ Does(d, "push")
    /\ block' = [block EXCEPT ![d] = IF @ = "held" THEN "pool" ELSE @]
    /\ given' = [given EXCEPT ![d] = @ + 1]
    /\ UNCHANGED << impl, unlocks, lock >>

Clear(d) ==
    /\ Does(d, "clear")
    /\ impl' = [impl EXCEPT ![d] = FALSE]
    /\ UNCHANGED << block, given, unlocks, lock >>

Unlock(d) ==
    /\ Does(d, "unlock")
    /\ lock' = IF lock = d THEN 0 ELSE lock
    /\ unlocks' = [unlocks EXCEPT ![d] = @ + 1]
    /\ UNCHANGED << impl, block, given >>

Free(d) ==
    /\ Does(d, "free")
    /\ block' = [block EXCEPT ![d] = "freed"]
    /\ given' = [given EXCEPT ![d] = @ + 1]
    /\ UNCHANGED << impl, unlocks, lock >>

-----------------------------------------------------------------------------
(* A reader *)

ReaderLocks(r) ==
    /\ ReadersLock
    /\ reader[r] = "idle"
    /\ lock = 0
    /\ lock' = ReaderId(r)
    /\ reader' = [reader EXCEPT ![r] = "locked"]
    /\ UNCHANGED << path, next, impl, block, given, unlocks, loaded, creator, got, others >>

ReaderLoads(r, d) ==
    /\ reader[r] = IF ReadersLock THEN "locked" ELSE "idle"
    /\ reader' = [reader EXCEPT ![r] = "using"]
    /\ loaded' = [loaded EXCEPT ![r] = IF impl[d] THEN d ELSE 0]
    /\ UNCHANGED << path, next, impl, block, given, unlocks, lock, creator, got, others >>

ReaderLeaves(r) ==
    /\ reader[r] = "using"
    /\ reader' = [reader EXCEPT ![r] = "done"]
    /\ loaded' = [loaded EXCEPT ![r] = 0]
    /\ lock' = IF ReadersLock THEN 0 ELSE lock
    /\ UNCHANGED << path, next, impl, block, given, unlocks, creator, got, others >>

-----------------------------------------------------------------------------
(* The creator of another encoder *)

CreatorLocks ==
    /\ creator = "idle"
    /\ lock = 0
    /\ lock' = CreatorId
    /\ creator' = "locked"
    /\ UNCHANGED << path, next, impl, block, given, unlocks, reader, loaded, got, others >>

CreatorTakes(d) ==
    /\ creator = "locked"
    /\ block[d] = "pool"
    /\ block' = [block EXCEPT ![d] = "taken"]
    /\ got' = d
    /\ creator' = "using"
    /\ UNCHANGED << path, next, impl, given, unlocks, lock, reader, loaded, others >>

\* A block that was nobody's: from the freelist, or a fresh one if that is empty.
CreatorTakesAnother ==
    /\ creator = "locked"
    /\ others > 0 \/ Count = 0
    /\ others' = IF others > 0 THEN others - 1 ELSE 0
    /\ creator' = "using"
    /\ UNCHANGED << path, next, impl, block, given, unlocks, lock, reader, loaded, got >>

CreatorLeaves ==
    /\ creator = "using"
    /\ creator' = "done"
    /\ lock' = 0
    /\ UNCHANGED << path, next, impl, block, given, unlocks, reader, loaded, got, others >>

-----------------------------------------------------------------------------
Next ==
    \/ \E d \in D : Enter(d) \/ Push(d) \/ Clear(d) \/ Unlock(d) \/ Free(d) \/ CreatorTakes(d)
    \/ \E r \in R : ReaderLocks(r) \/ ReaderLeaves(r) \/ (\E d \in D : ReaderLoads(r, d))
    \/ CreatorLocks \/ CreatorTakesAnother \/ CreatorLeaves

Spec == Init /\ [][Next]_vars

-----------------------------------------------------------------------------
(* What is asked of every state *)

\* Never is the lock free and a block given back while _impl points at it.
NoRaceWindow == \A d \in D : lock = 0 /\ given[d] > 0 => ~impl[d]

\* Never does a reader work on a block that was given back ...
NoStaleUse ==
    \A r \in R : reader[r] = "using" /\ loaded[r] # 0 => given[loaded[r]] = 0

\* ... or on null. Readers that take the lock look before they work.
NoNullUse == \A r \in R : reader[r] = "using" /\ loaded[r] = 0 => ReadersLock

\* Who is through has given the block back.
NoLeak == \A d \in D : Through(d) => given[d] > 0

\* No block is given back twice.
NoDoubleFree == \A d \in D : given[d] <= 1

\* Who is through has released the lock once, and nobody ever does it twice.
UnlockOnce == \A d \in D : unlocks[d] <= 1 /\ (Through(d) => unlocks[d] = 1)
=============================================================================
