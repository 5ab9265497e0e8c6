---------------------------- MODULE guard_commit ----------------------------
(***************************************************************************)
(* How a commit lets go of its command buffer's lock.  Threads 1 and 2     *)
(* each commit a buffer of their own: they end the buffer's encoders,      *)
(* submit, which waits while the queue is full, and call a handler, which  *)
(* uses the other thread's buffer.  Thread 3 encodes on buffer 1 before    *)
(* its commit, or is refused; then it lets go of buffer 1's encoder, for   *)
(* which it needs that buffer's lock, and so makes room in the queue.      *)
(*                                                                         *)
(* LetsGo says when a commit lets its lock go: 0 when it returns, 1 when   *)
(* its encoders are ended (the guard's way), 2 at once.  OneLock is the    *)
(* mode in which every buffer has the same lock.                           *)
(***************************************************************************)
EXTENDS Naturals

CONSTANTS
    LetsGo,       \* 0: NoDeadlock fails, 1: all hold, 2: NoTwoInside fails
    OneLock,      \* one lock for all buffers
    Room          \* how many commits the queue takes before thread 3 made room

VARIABLES
    pc,           \* where each thread is
    owner,        \* the thread that has each lock, 0 for none
    depth,        \* how often the owner has taken it
    ended,        \* buffer 1's encoders are ended
    room          \* how many more commits the queue takes

vars == <<pc, owner, depth, ended, room>>

Committers == 1..2
Third == 3
Buffers == 1..2

Lock(b) == IF OneLock THEN 1 ELSE b
Other(t) == 3 - t

Init ==
    /\ pc = [t \in 1..3 |-> "start"]
    /\ owner = [b \in Buffers |-> 0]
    /\ depth = [b \in Buffers |-> 0]
    /\ ended = FALSE
    /\ room = Room

MayTake(t, b) == owner[Lock(b)] = 0 \/ owner[Lock(b)] = t

Take(t, b) ==
    /\ MayTake(t, b)
    /\ owner' = [owner EXCEPT ![Lock(b)] = t]
    /\ depth' = [depth EXCEPT ![Lock(b)] = depth[Lock(b)] + 1]

LetGo(b) ==
    /\ owner' = [owner EXCEPT ![Lock(b)] = IF depth[Lock(b)] = 1 THEN 0 ELSE owner[Lock(b)]]
    /\ depth' = [depth EXCEPT ![Lock(b)] = depth[Lock(b)] - 1]

Keep == UNCHANGED <<owner, depth>>
Goes(t, where) == pc' = [pc EXCEPT ![t] = where]

(* A commit: the lock, the encoders, the queue, the handler, the return. *)
Commit(t) ==
    /\ pc[t] = "start" /\ Goes(t, "locked") /\ Take(t, t) /\ UNCHANGED <<ended, room>>

BeginEncoders(t) ==
    /\ pc[t] = "locked" /\ Goes(t, "ending")
    /\ IF LetsGo = 2 THEN LetGo(t) ELSE Keep
    /\ UNCHANGED <<ended, room>>

EndEncoders(t) ==
    /\ pc[t] = "ending" /\ Goes(t, "submits")
    /\ ended' = (ended \/ t = 1)
    /\ IF LetsGo = 1 THEN LetGo(t) ELSE Keep
    /\ UNCHANGED room

Submit(t) ==
    /\ pc[t] = "submits" /\ room > 0 /\ Goes(t, "handler")
    /\ room' = room - 1
    /\ Keep /\ UNCHANGED ended

UseOther(t) ==
    /\ pc[t] = "handler" /\ Goes(t, "inOther") /\ Take(t, Other(t)) /\ UNCHANGED <<ended, room>>

LeaveOther(t) ==
    /\ pc[t] = "inOther" /\ Goes(t, "returns") /\ LetGo(Other(t)) /\ UNCHANGED <<ended, room>>

Return(t) ==
    /\ pc[t] = "returns" /\ Goes(t, "done")
    /\ IF LetsGo = 0 THEN LetGo(t) ELSE Keep
    /\ UNCHANGED <<ended, room>>

(* The third thread: refused where the encoders are ended. *)
Encode ==
    /\ pc[Third] = "start"
    /\ IF ended
       THEN /\ MayTake(Third, 1) /\ Goes(Third, "lets go") /\ Keep
       ELSE /\ Goes(Third, "encoding") /\ Take(Third, 1)
    /\ UNCHANGED <<ended, room>>

Encoded ==
    /\ pc[Third] = "encoding" /\ Goes(Third, "lets go") /\ LetGo(1) /\ UNCHANGED <<ended, room>>

Dealloc ==
    /\ pc[Third] = "lets go" /\ MayTake(Third, 1) /\ Goes(Third, "done")
    /\ room' = room + 2
    /\ Keep /\ UNCHANGED ended

Next ==
    \/ \E t \in Committers : Commit(t) \/ BeginEncoders(t) \/ EndEncoders(t) \/ Submit(t) \/ UseOther(t) \/ LeaveOther(t) \/ Return(t)
    \/ Encode \/ Encoded \/ Dealloc

Spec == Init /\ [][Next]_vars

(* What each thread waits for, where it waits at all. *)
CanStep(t) ==
    CASE pc[t] = "done" -> FALSE
      [] t = Third /\ pc[t] \in {"start", "lets go"} -> MayTake(t, 1)
      [] pc[t] = "start" -> MayTake(t, t)
      [] pc[t] = "submits" -> room > 0
      [] pc[t] = "handler" -> MayTake(t, Other(t))
      [] OTHER -> TRUE

NoDeadlock == (\A t \in 1..3 : pc[t] = "done") \/ (\E t \in 1..3 : CanStep(t))
NoTwoInside == ~(pc[1] = "ending" /\ pc[Third] = "encoding")
=============================================================================
