--------------------------- MODULE guard_encoder ---------------------------
(***************************************************************************)
(* The guard in front of the encoders that live, one after another, at one *)
(* address.  Threads send messages to the encoder; a message is under way  *)
(* for a while, inside objc_msgSend, before the guard sees it.  The driver *)
(* reads _impl without a test, and an ended encoder has none.              *)
(*                                                                         *)
(* Four constants switch the four parts of the guard off, one at a time:   *)
(* each of the properties needs the part that is named with it.            *)
(*                                                                         *)
(* What is assumed and cannot be proved here: the quarantine keeps an      *)
(* encoder that no one else holds for longer than a message is under way   *)
(* (action Expire).                                                        *)
(***************************************************************************)
EXTENDS Naturals

CONSTANTS
    Threads,      \* a number: the threads are 1..Threads
    Lives,        \* how many encoders live at the address, one after another
    Locks,        \* a call runs under its encoder's lock                (NoNullImpl)
    Quarantine,   \* an ended encoder keeps one reference for a while    (NoUseAfterFree)
    Forgets,      \* the ledger forgets an address with its object       (NoFalseRefusal)
    Recursive     \* the lock may be taken again by its owner            (NoSelfDeadlock)

VARIABLES
    life,         \* which encoder is, or was last, at the address
    freed,        \* its memory has been given back
    impl,         \* it has its _impl
    ended,        \* it was ended: the truth, which the ledger should know
    appRef,       \* the application holds a reference
    guardRef,     \* the guard holds a reference
    ledger,       \* what the ledger says of the address
    owner,        \* the thread that has the record's lock, 0 for none
    pc,           \* where each thread is
    kind,         \* what it calls
    target,       \* the encoder it means
    usedFreed,    \* a message reached freed memory
    readNull,     \* a method read a NULL _impl
    refusedLive   \* a call to a live encoder was refused

vars == <<life, freed, impl, ended, appRef, guardRef, ledger, owner, pc, kind, target, usedFreed, readNull, refusedLive>>
object == <<life, freed, impl, ended, appRef, guardRef>>
faults == <<usedFreed, readNull, refusedLive>>

T == 1..Threads

TypeOK ==
    /\ life \in 1..Lives
    /\ freed \in BOOLEAN /\ impl \in BOOLEAN /\ ended \in BOOLEAN /\ appRef \in BOOLEAN /\ guardRef \in BOOLEAN
    /\ ledger \in {"unknown", "live", "ended"}
    /\ owner \in 0..Threads
    /\ pc \in [T -> {"idle", "sent", "waits", "inside", "waitsNested", "nested"}]
    /\ kind \in [T -> {"call", "end", "nest"}]
    /\ target \in [T -> 0..Lives]

Init ==
    /\ life = 1 /\ freed = FALSE /\ impl = TRUE /\ ended = FALSE /\ appRef = TRUE /\ guardRef = Quarantine
    /\ ledger = "live" /\ owner = 0
    /\ pc = [t \in T |-> "idle"] /\ kind = [t \in T |-> "call"] /\ target = [t \in T |-> 0]
    /\ usedFreed = FALSE /\ readNull = FALSE /\ refusedLive = FALSE

(* A thread that knows the encoder from the application sends it a message. *)
Send(t) ==
    /\ pc[t] = "idle" /\ appRef
    /\ \E k \in {"call", "end", "nest"} : kind' = [kind EXCEPT ![t] = k]
    /\ target' = [target EXCEPT ![t] = life]
    /\ pc' = [pc EXCEPT ![t] = "sent"]
    /\ UNCHANGED <<object, ledger, owner, faults>>

(* objc_msgSend reads the object's class, and jumps to the thunk. *)
Arrive(t) ==
    /\ pc[t] = "sent"
    /\ usedFreed' = (usedFreed \/ freed)
    /\ pc' = [pc EXCEPT ![t] = IF freed THEN "idle" ELSE "waits"]
    /\ UNCHANGED <<object, ledger, owner, kind, target, readNull, refusedLive>>

MayEnter(t) == ~Locks \/ owner = 0

(* The guard judges, under the lock.  A thread whose encoder went away while it waited is refused. *)
Refuses(t) == ledger = "ended" \/ target[t] # life \/ freed

Refuse(t) ==
    /\ pc[t] = "waits" /\ MayEnter(t) /\ Refuses(t)
    /\ refusedLive' = (refusedLive \/ (target[t] = life /\ ~ended /\ ~freed))
    /\ pc' = [pc EXCEPT ![t] = "idle"]
    /\ UNCHANGED <<object, ledger, owner, kind, target, usedFreed, readNull>>

Enter(t) ==
    /\ pc[t] = "waits" /\ MayEnter(t) /\ ~Refuses(t)
    /\ owner' = IF Locks THEN t ELSE owner
    /\ pc' = [pc EXCEPT ![t] = "inside"]
    /\ UNCHANGED <<object, ledger, kind, target, faults>>

Release(t) == IF owner = t THEN 0 ELSE owner

(* The method itself: reads _impl without a test. *)
Call(t) ==
    /\ pc[t] = "inside" /\ kind[t] = "call"
    /\ readNull' = (readNull \/ ~impl)
    /\ usedFreed' = (usedFreed \/ freed)
    /\ owner' = Release(t)
    /\ pc' = [pc EXCEPT ![t] = "idle"]
    /\ UNCHANGED <<object, ledger, kind, target, refusedLive>>

(* endEncoding: gives _impl back. *)
End(t) ==
    /\ pc[t] = "inside" /\ kind[t] = "end"
    /\ impl' = FALSE /\ ended' = TRUE /\ ledger' = "ended"
    /\ owner' = Release(t)
    /\ pc' = [pc EXCEPT ![t] = "idle"]
    /\ UNCHANGED <<life, freed, appRef, guardRef, kind, target, faults>>

(* A method that calls another one of the same encoder. *)
Nest(t) ==
    /\ pc[t] = "inside" /\ kind[t] = "nest"
    /\ pc' = [pc EXCEPT ![t] = IF Locks /\ ~Recursive THEN "waitsNested" ELSE "nested"]
    /\ UNCHANGED <<object, ledger, owner, kind, target, faults>>

EnterNested(t) ==
    /\ pc[t] = "waitsNested" /\ owner = 0
    /\ owner' = t
    /\ pc' = [pc EXCEPT ![t] = "nested"]
    /\ UNCHANGED <<object, ledger, kind, target, faults>>

LeaveNested(t) ==
    /\ pc[t] = "nested"
    /\ readNull' = (readNull \/ ~impl)
    /\ usedFreed' = (usedFreed \/ freed)
    /\ owner' = Release(t)
    /\ pc' = [pc EXCEPT ![t] = "idle"]
    /\ UNCHANGED <<object, ledger, kind, target, refusedLive>>

(* The application lets go of an encoder it has ended. *)
LetGo ==
    /\ appRef /\ ended
    /\ appRef' = FALSE
    /\ UNCHANGED <<life, freed, impl, ended, guardRef, ledger, owner, pc, kind, target, faults>>

(* The quarantine lets go, later than any message to the encoder is under way.  Its clock runs from when the guard alone holds *)
(* the encoder: were it to run from the end, the application could drop the last reference while a message is under way. *)
Expire ==
    /\ guardRef /\ ended /\ ~appRef
    /\ \A t \in T : pc[t] # "sent"
    /\ guardRef' = FALSE
    /\ UNCHANGED <<life, freed, impl, ended, appRef, ledger, owner, pc, kind, target, faults>>

(* dealloc waits for who is inside. *)
Dealloc ==
    /\ ~freed /\ ~appRef /\ ~guardRef /\ (Locks => owner = 0)
    /\ freed' = TRUE
    /\ ledger' = IF Forgets THEN "unknown" ELSE ledger
    /\ UNCHANGED <<life, impl, ended, appRef, guardRef, owner, pc, kind, target, faults>>

(* The next encoder gets the same address. *)
Reuse ==
    /\ freed /\ life < Lives /\ (Locks => owner = 0)
    /\ life' = life + 1
    /\ freed' = FALSE /\ impl' = TRUE /\ ended' = FALSE /\ appRef' = TRUE /\ guardRef' = Quarantine
    /\ ledger' = IF Forgets THEN "live" ELSE ledger
    /\ UNCHANGED <<owner, pc, kind, target, faults>>

Next ==
    \/ \E t \in T : Send(t) \/ Arrive(t) \/ Refuse(t) \/ Enter(t) \/ Call(t) \/ End(t) \/ Nest(t) \/ EnterNested(t) \/ LeaveNested(t)
    \/ LetGo \/ Expire \/ Dealloc \/ Reuse

Spec == Init /\ [][Next]_vars

NoUseAfterFree == ~usedFreed
NoNullImpl == ~readNull
NoFalseRefusal == ~refusedLive
NoSelfDeadlock == \A t \in T : ~(pc[t] = "waitsNested" /\ owner = t)
=============================================================================
