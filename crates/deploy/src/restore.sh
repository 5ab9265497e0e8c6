#!/bin/sh
# Puts Apple's driver back and chooses Apple's snapshot. To be run in recoveryOS, from a
# terminal, where it lies on the data volume: sh "/Volumes/Data/@KIT@/restore.sh"
#
# Options: --volume DIR   the system volume, if it is not found by itself
#          --new-snapshot do not ask for a password: boot a new snapshot of the
#                         restored volume instead of Apple's sealed one
#
# Exit status: 0 Apple's snapshot is chosen; 1 refused, nothing was changed; 2 done in part.
# Written by agxpatch for macOS build @BUILD@ when it deployed.

set -u
unset CDPATH
driver='@DRIVER@'
build='@BUILD@'
mode='@MODE@'
checksum='@CHECKSUM@'
patched='@PATCHED@'
manifest='@MANIFEST@'
plan='@PLAN@'
group='@GROUP@'
state='@STATE@'
system='@SYSTEM@'
leaf=${driver##*/}

say() { printf '%s\n' "$*"; }
warn() { printf 'restore: %s\n' "$*" >&2; }

here=${0%/*}
[ "$here" != "$0" ] || here=.
kit=$(cd "$here" && pwd -P) || { warn "cannot find the directory of this script"; exit 1; }
original="$kit/$leaf.original"
data=${kit%/@KIT@}
[ "$data" != "$kit" ] || data=
data_name=${data##*/}

# A name as one word of a command line.
q() { printf "'%s'" "$(printf '%s' "$1" | sed "s/'/'\\\\''/g")"; }

# What to type where this script cannot go on by itself, with the names the volumes had
# when agxpatch deployed.
by_hand() {
    say "Type in this terminal (the first line shows the names, should they be others):"
    say "  diskutil list"
    say "  diskutil mount $(q "$system")"
    say "  diskutil apfs unlockVolume $(q "${data_name:-Data}")     (if FileVault is on)"
    say "  sh $(q "$kit/restore.sh") --volume $(q "/Volumes/$system")"
    say "Or choose Apple's snapshot without this script:"
    say "  mount -uw $(q "/Volumes/$system")"
    say "  bless --mount $(q "/Volumes/$system") --last-sealed-snapshot"
}
die() { warn "$*"; by_hand; exit 1; }

volume=
choice=sealed
while [ $# -gt 0 ]; do
    case $1 in
        --volume) [ $# -gt 1 ] || die "--volume wants a directory"; volume=${2%/}; shift 2 ;;
        --new-snapshot) choice=new; shift ;;
        *) die "unknown argument: $1" ;;
    esac
done

# Where macOS runs, the system volume is a read-only snapshot.
if [ -d /System/Volumes/Data/Users ]; then
    warn "this is for recoveryOS; in macOS, type: sudo agxpatch revert"
    exit 1
fi

# A restart writes everything out, too, should there be no sync.
flush() { sync 2>/dev/null || :; }

sum_of() { cksum < "$1" 2>/dev/null | awk '{ print $1, $2 }'; }

build_of() {
    sed -n '/ProductBuildVersion/{n;s/.*<string>\(.*\)<\/string>.*/\1/p;}' \
        "$1/System/Library/CoreServices/SystemVersion.plist" 2>/dev/null
}

# One value of what diskutil tells about a volume, or nothing.
info_of() {
    diskutil info -plist "$1" 2>/dev/null | awk -v key="<key>$2</key>" '
        { at = index($0, key) }
        at { $0 = substr($0, at + length(key)); found = 1 }
        found && match($0, /<string>[^<]*<\/string>/) {
            print substr($0, RSTART + 8, RLENGTH - 17); exit
        }'
}

# Whether a directory is a system volume, and neither recoveryOS itself nor its image.
is_macos() {
    [ -f "$1/System/Library/CoreServices/SystemVersion.plist" ] || return 1
    [ ! "$1" -ef / ] || return 1
    [ ! -d "$1/System/Installation" ] || return 1
    case ${1##*/} in *"Base System"*) return 1 ;; esac
}

# How sure it is that a volume is the one that was deployed to: 9 another macOS's, 0 no
# sign of it, 1 our driver, 2 our manifest, 3 the volume group.
signs_of() {
    its_group=$(info_of "$1" APFSVolumeGroupID)
    if [ -n "$group" ] && [ -n "$its_group" ]; then
        [ "$its_group" = "$group" ] && echo 3 || echo 9
        return
    fi
    its_plan=$(sed -n 's/.*"plan": "\([0-9a-f]*\)".*/\1/p' "$1$manifest" 2>/dev/null)
    if [ -n "$its_plan" ] && [ "$its_plan" = "$plan" ]; then
        echo 2
    elif [ -f "$1$driver" ] && [ "$(sum_of "$1$driver")" = "$patched" ]; then
        echo 1
    else
        echo 0
    fi
}

# The candidate with the most certain sign, how certain it is, and how many are like it.
best=
best_signs=-1
like_it=0
for candidate in /Volumes/*; do
    is_macos "$candidate" || continue
    signs=$(signs_of "$candidate")
    [ "$signs" != 9 ] || continue
    if [ "$signs" -gt "$best_signs" ]; then
        best=$candidate best_signs=$signs like_it=1
    elif [ "$signs" = "$best_signs" ]; then
        like_it=$((like_it + 1))
    fi
done

if [ -n "$volume" ]; then
    is_macos "$volume" || die "$volume is not the system volume of a macOS"
    signs=$(signs_of "$volume")
    [ "$signs" != 9 ] || die "$volume belongs to another macOS; nothing was changed"
    if [ "$signs" = 0 ] && [ "$best_signs" -gt 0 ]; then
        die "$volume was not deployed to, but $best was; nothing was changed"
    fi
else
    [ -n "$best" ] || die "the system volume is not mounted in /Volumes"
    [ "$like_it" = 1 ] || die "several volumes hold macOS: name the right one with --volume"
    volume=$best
fi

say "system volume: $volume"

# Whether the original can be put back. Apple's snapshot is chosen in any case: it is
# what boots next, whatever the volume holds.
restore=yes
part=no
found=$(build_of "$volume")
if [ ! -f "$volume$driver" ]; then
    say "there is no driver at $volume$driver: nothing to put back"
    restore=no
elif [ "$found" != "$build" ]; then
    say "$volume holds macOS ${found:-of no known build} and not $build: its driver is left alone"
    restore=no
elif [ ! -f "$original" ]; then
    warn "the original is missing: $original"
    restore=no part=yes
elif [ "$(sum_of "$original")" != "$checksum" ]; then
    warn "the original is not what was kept: $original"
    restore=no part=yes
fi

writable=yes
if ! mount -uw "$volume"; then
    warn "cannot make $volume writable; only Apple's snapshot is chosen, if that can be done"
    writable=no restore=no part=yes
fi

# Puts the original in place; says what failed.
put_back() {
    new="$volume${driver%/*}/.$leaf.agxpatch"
    rm -f "$new"
    cp "$original" "$new" || { rm -f "$new"; warn "cannot copy the original"; return 1; }
    if [ "$(sum_of "$new")" != "$checksum" ]; then
        rm -f "$new"
        warn "the copy is not the original"
        return 1
    fi
    chown 0:0 "$new" && chmod "$mode" "$new" ||
        { rm -f "$new"; warn "cannot set owner and mode"; return 1; }
    flush
    mv -f "$new" "$volume$driver" || { rm -f "$new"; warn "cannot put the original in place"; return 1; }
    flush
    [ "$(sum_of "$volume$driver")" = "$checksum" ] || { warn "the driver does not read back right"; return 1; }
}

restored=no
if [ "$restore" = yes ]; then
    if [ "$(sum_of "$volume$driver")" = "$checksum" ]; then
        say "the driver is Apple's already"
        restored=yes
    elif put_back; then
        say "Apple's driver is back"
        restored=yes
    else
        part=yes
    fi
fi
if [ "$restored" = yes ]; then
    rm -f "$volume$manifest" "$volume${driver%/*}/.$leaf.agxpatch"
fi

if [ "$choice" = new ]; then
    [ "$restored" = yes ] || die "without Apple's driver on the volume no snapshot of it is made"
    bless --mount "$volume" --create-snapshot || die "no snapshot could be made"
    say "the next boot comes from a new snapshot with Apple's driver"
else
    say "choosing Apple's sealed snapshot; an owner of this Mac is asked for a password"
    if ! bless --mount "$volume" --last-sealed-snapshot; then
        if [ "$writable" = no ]; then
            by_hand
            exit 2
        fi
        say "bless clears the old choice first and asks afterwards, so this may have worked."
        say "Restart and see; if the patched snapshot still comes up, run this again with"
        say "--new-snapshot, which asks for nothing."
        exit 2
    fi
    say "the next boot comes from Apple's sealed snapshot"
fi

# The records are true as long as the patched driver may be on the volume.
if [ "$restored" = yes ]; then
    if [ -n "$data" ] && [ -d "$data$state" ]; then
        rm -f "$data$state/manifest.json" "$data$state/pending.json" "$data$state/reverted.json" \
            "$data$state/journal"
    fi
else
    say "the records are kept; after the restart, type: sudo agxpatch recover"
fi
[ "$writable" = yes ] || by_hand
[ "$part" = no ] || exit 2
say "done; restart now"
