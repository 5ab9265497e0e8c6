------------------------------- MODULE journal -------------------------------
(***************************************************************************)
(* Putting a patched driver in force on a Mac's system volume, and taking  *)
(* it back, when the process may be killed, the power may fail, or a step  *)
(* may go wrong, after every single step and any number of times.          *)
(*                                                                         *)
(* The sequences below are the steps of `agxpatch deploy`, `revert` and    *)
(* `recover`. The journal says which of them was going on; everything else *)
(* recovery needs to know it looks at. A rename, a record in the journal   *)
(* and the choice of the boot snapshot take effect whole or not at all,    *)
(* and what is written was made durable before the next step begins.       *)
(***************************************************************************)
EXTENDS Naturals, Sequences

CONSTANTS
    Deploy,  \* the steps of a deployment
    Undo,    \* of taking back one that has touched the live volume
    Cancel,  \* of taking back one that has not
    Complete, \* of one whose snapshot may have been chosen and may not
    Finish,  \* of tidying up after one whose snapshot was chosen
    Revert   \* of taking back one that is in force

VARIABLES
    op,        \* what this process does: "none" or the name of a sequence
    step,      \* the number of its next step
    lock,      \* "free", "ours" or "theirs": another agxpatch
    journal,   \* "none", or what was going on: "deploy", "undo", "revert"
    backup,    \* whether the original is kept on the data volume
    staged,    \* whether a loose patched copy lies there
    mounted,   \* whether the live system volume is mounted in private
    beside,    \* whether a second file lies beside the driver on it
    live,      \* the driver on it: "original" or "patched"
    manifest,  \* whether the manifest lies there
    snapshots, \* which exist: Apple's sealed one, and ours
    inside,    \* what ours contains
    tag,       \* which one boots next
    booted,    \* which one is running
    pending    \* whether a record says that a restart is due

vars == << op, step, lock, journal, backup, staged, mounted, beside, live,
           manifest, snapshots, inside, tag, booted, pending >>

DriverOf(snapshot) == IF snapshot = "ours" THEN inside.driver ELSE "original"

Init ==
    /\ op = "none"
    /\ step = 0
    /\ lock = "free"
    /\ journal = "none"
    /\ backup = FALSE
    /\ staged = FALSE
    /\ mounted = FALSE
    /\ beside = FALSE
    /\ live = "original"
    /\ manifest = FALSE
    /\ snapshots = {"sealed"}
    /\ inside = [driver |-> "original", manifest |-> FALSE]
    /\ tag = "sealed"
    /\ booted = "sealed"
    /\ pending = FALSE

-----------------------------------------------------------------------------
(* The sequences *)

DeploySteps == << "lock", "journal", "backup", "stage", "mount", "recheck", "beside",
                  "rename", "readback", "manifest", "snapshot", "tag", "confirm",
                  "unmount", "unstage", "pending", "close" >>
UndoSteps == << "lock", "undoing", "mount", "restore", "unmark", "seal",
                "unmount", "unstage", "pending", "close" >>
CancelSteps == << "lock", "undoing", "unmount", "unstage", "pending", "close" >>
CompleteSteps == << "lock", "mount", "readback", "manifest", "snapshot", "tag", "confirm",
                    "unmount", "unstage", "pending", "close" >>
FinishSteps == << "lock", "unmount", "unstage", "pending", "close" >>
RevertSteps == << "lock", "journal", "mount", "restore", "unmark", "seal",
                  "unmount", "pending", "close" >>

\* Wrong on purpose: each lets one of the invariants fail.
Without(steps, name) == SelectSeq(steps, LAMBDA s : s # name)
DeployWithoutLock == Without(DeploySteps, "lock")
DeployWithoutJournal == Without(DeploySteps, "journal")
DeployWithoutBackup == Without(DeploySteps, "backup")
DeployWithoutManifest == Without(DeploySteps, "manifest")
DeployWithoutPending == Without(DeploySteps, "pending")
DeployTagsFirst == Without(DeploySteps, "snapshot")
UndoWithoutRecord == Without(UndoSteps, "undoing")

Sequence ==
    CASE op = "deploy" -> Deploy
      [] op = "undo" -> Undo
      [] op = "cancel" -> Cancel
      [] op = "complete" -> Complete
      [] op = "finish" -> Finish
      [] op = "revert" -> Revert
      [] OTHER -> << >>

-----------------------------------------------------------------------------
(* Beginning *)

Begin(name) ==
    /\ op = "none"
    /\ op' = name
    /\ step' = 1
    /\ UNCHANGED << lock, journal, backup, staged, mounted, beside, live, manifest,
                    snapshots, inside, tag, booted, pending >>

BeginDeploy == journal = "none" /\ tag = "sealed" /\ booted = "sealed" /\ Begin("deploy")
BeginRevert == journal = "none" /\ tag = "ours" /\ Begin("revert")

\* The live volume is as it was, and so is what boots next.
Untouched == live = "original" /\ ~beside /\ ~manifest /\ tag = "sealed"

\* What was going on is finished if the snapshot was chosen already, else undone.
\* Which one is chosen cannot always be seen: where all is in place for it, the
\* snapshot may as well be made and chosen once more.
Recover ==
    \/ journal = "deploy" /\ tag = "ours" /\ Begin("finish")
    \/ journal = "deploy" /\ tag = "sealed" /\ Begin("undo")
    \/ journal = "deploy" /\ live = "patched" /\ manifest /\ Begin("complete")
    \/ journal \in {"deploy", "undo"} /\ Untouched /\ Begin("cancel")
    \/ journal = "undo" /\ Begin("undo")
    \/ journal = "revert" /\ Begin("revert")

-----------------------------------------------------------------------------
(* One step *)

At(name) ==
    /\ step \in 1..Len(Sequence)
    /\ Sequence[step] = name
    /\ step' = step + 1
    /\ UNCHANGED << op, booted >>

Lock ==
    /\ At("lock")
    /\ lock = "free"
    /\ lock' = "ours"
    /\ UNCHANGED << journal, backup, staged, mounted, beside, live, manifest,
                    snapshots, inside, tag, pending >>

Journal ==
    /\ \/ At("journal") /\ journal' = op
       \/ At("undoing") /\ journal' = "undo"
    /\ UNCHANGED << lock, backup, staged, mounted, beside, live, manifest,
                    snapshots, inside, tag, pending >>

\* The data volume: the original is kept, a patched copy made.
Prepare ==
    /\ \/ At("backup") /\ backup' = TRUE /\ UNCHANGED staged
       \/ At("stage") /\ staged' = TRUE /\ UNCHANGED backup
       \/ At("unstage") /\ staged' = FALSE /\ UNCHANGED backup
    /\ UNCHANGED << lock, journal, mounted, beside, live, manifest,
                    snapshots, inside, tag, pending >>

Mount ==
    /\ \/ At("mount") /\ mounted' = TRUE
       \/ At("unmount") /\ mounted' = FALSE
    /\ UNCHANGED << lock, journal, backup, staged, beside, live, manifest,
                    snapshots, inside, tag, pending >>

Look ==
    /\ At("recheck") \/ At("readback") \/ At("confirm")
    /\ UNCHANGED << lock, journal, backup, staged, mounted, beside, live, manifest,
                    snapshots, inside, tag, pending >>

\* The live volume: the second file, the driver, the manifest.
Write ==
    /\ \/ At("beside") /\ beside' = TRUE /\ UNCHANGED << live, manifest >>
       \/ At("rename") /\ beside' = FALSE /\ live' = "patched" /\ UNCHANGED manifest
       \/ At("restore") /\ beside' = FALSE /\ UNCHANGED manifest
          /\ live' = IF backup THEN "original" ELSE live
       \/ At("manifest") /\ manifest' = TRUE /\ UNCHANGED << beside, live >>
       \/ At("unmark") /\ manifest' = FALSE /\ UNCHANGED << beside, live >>
    /\ UNCHANGED << lock, journal, backup, staged, mounted, snapshots, inside, tag, pending >>

\* Putting the original back begins with a second file beside the driver, too.
RestoreBeside ==
    /\ step \in 1..Len(Sequence)
    /\ Sequence[step] = "restore"
    /\ backup
    /\ live = "patched"
    /\ beside' = TRUE
    /\ UNCHANGED << op, step, lock, journal, backup, staged, mounted, live, manifest,
                    snapshots, inside, tag, booted, pending >>

\* The snapshots; none is ever deleted.
Choose ==
    /\ \/ At("snapshot") /\ snapshots' = snapshots \cup {"ours"} /\ UNCHANGED tag
          /\ inside' = [driver |-> live, manifest |-> manifest]
       \/ At("tag") /\ tag' = "ours" /\ UNCHANGED << snapshots, inside >>
       \/ At("seal") /\ tag' = "sealed" /\ UNCHANGED << snapshots, inside >>
    /\ UNCHANGED << lock, journal, backup, staged, mounted, beside, live, manifest, pending >>

Pending ==
    /\ At("pending")
    /\ pending' = (DriverOf(tag) # DriverOf(booted))
    /\ UNCHANGED << lock, journal, backup, staged, mounted, beside, live, manifest,
                    snapshots, inside, tag >>

Close ==
    /\ step \in 1..Len(Sequence)
    /\ Sequence[step] = "close"
    /\ op' = "none"
    /\ step' = 0
    /\ journal' = "none"
    /\ lock' = "free"
    /\ UNCHANGED << backup, staged, mounted, beside, live, manifest,
                    snapshots, inside, tag, booted, pending >>

-----------------------------------------------------------------------------
(* What may come between *)

\* A step of a deployment goes wrong: the same process takes everything back, or
\* tidies up where the next boot is decided.
Fail ==
    /\ op = "deploy"
    /\ journal = "deploy"
    /\ \/ op' = "undo"
       \/ op' = "cancel" /\ Untouched
       \/ op' = "finish" /\ tag = "ours"
    /\ step' = 2
    /\ UNCHANGED << lock, journal, backup, staged, mounted, beside, live, manifest,
                    snapshots, inside, tag, booted, pending >>

\* The process is killed. Its lock goes with it, what it mounted stays.
Kill ==
    /\ op # "none"
    /\ op' = "none"
    /\ step' = 0
    /\ lock' = IF lock = "ours" THEN "free" ELSE lock
    /\ UNCHANGED << journal, backup, staged, mounted, beside, live, manifest,
                    snapshots, inside, tag, booted, pending >>

\* The power fails, or the owner restarts. The chosen snapshot comes up; the
\* pending record is tied to the session that ends.
Restart ==
    /\ op' = "none"
    /\ step' = 0
    /\ lock' = "free"
    /\ mounted' = FALSE
    /\ booted' = tag
    /\ pending' = FALSE
    /\ UNCHANGED << journal, backup, staged, beside, live, manifest,
                    snapshots, inside, tag >>

\* Another agxpatch takes the lock, and releases it.
Other ==
    /\ \/ lock = "free" /\ lock' = "theirs"
       \/ lock = "theirs" /\ lock' = "free"
    /\ UNCHANGED << op, step, journal, backup, staged, mounted, beside, live, manifest,
                    snapshots, inside, tag, booted, pending >>

Next ==
    \/ BeginDeploy \/ BeginRevert \/ Recover
    \/ Lock \/ Journal \/ Prepare \/ Mount \/ Look \/ Write \/ RestoreBeside \/ Choose \/ Pending \/ Close
    \/ Fail \/ Kill \/ Restart \/ Other

Spec == Init /\ [][Next]_vars

-----------------------------------------------------------------------------
(* What is asked of every state *)

Idle == op = "none" /\ journal = "none"
Clean == live = "original" /\ ~manifest /\ tag = "sealed"
Active == live = "patched" /\ manifest /\ tag = "ours"

\* There is always a snapshot to boot, and it is the original or all patched.
BootsSomething == tag \in snapshots /\ booted \in snapshots
BootsWhole == tag = "ours" => inside.driver = "patched" /\ inside.manifest

\* Nothing is changed before the original is safe.
BackupFirst == live = "patched" \/ DriverOf(tag) = "patched" => backup

\* Where nothing is going on and nothing is to be recovered, the machine is as
\* it was or patched, never between, and nothing is left lying about.
NeverBetween == Idle => Clean \/ Active
NothingLeft == Idle => ~mounted /\ ~beside /\ ~staged

\* A restart that is due is on record.
PendingTold == Idle /\ DriverOf(tag) # DriverOf(booted) => pending

\* While the other one has the lock, this one has done nothing yet.
OneAtATime == op # "none" /\ lock = "theirs" => step = 1
=============================================================================
