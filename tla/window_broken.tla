---------------------------- MODULE window_broken ----------------------------
(***************************************************************************)
(* Orders of steps that are wrong on purpose, one for each invariant of    *)
(* module window that neither the original nor a rewrite violates where    *)
(* each destroyer ends its own encoder and readers take the lock: so that  *)
(* none of them is true for want of anything that could make it false.     *)
(***************************************************************************)
EXTENDS window

\* As the default rewrite, when its branch past free is lost.
FreesWhatItPushed == << "push", "clear", "unlock", "free" >>
ReleasesTwice == << "push", "clear", "unlock", "unlock" >>
NeverReleases == << "push", "clear" >>
Comes == << "load-or-return", "destroy", "load-or-skip", "lock" >>
DestroysTwice == << "load-or-return", "destroy", "destroy", "load-or-skip", "lock" >>
DestroysWhatItTook == << "take-or-skip", "load", "destroy", "lock" >>
PushesTwice == << "push", "push", "clear", "unlock" >>
Nothing == << >>
InOrder == << "clear", "unlock", "free" >>
=============================================================================
