"""The published patch by LIEF: `lief_patch.py IN OUT`.

LIEF takes the file apart, changes nine words of the arm64e slice by their addresses, and
writes the file again. It does not sign: that is `rcodesign`'s part.
"""

import struct
import sys

import lief

WORDS = {
    0x2BE05C: 0x54000128, 0x2BE070: 0xF8386A7F, 0x2BE074: 0x8B150320,
    0x2BE078: 0x94105A5B, 0x2BE07C: 0x14000005, 0x2BE080: 0xF8386A7F,
    0x2BE084: 0x8B150320, 0x2BE088: 0x94105A57, 0x2BE08C: 0x14000001,
}  # fmt: skip

fat = lief.MachO.parse(sys.argv[1])
driver = next(slice for slice in fat if slice.header.cpu_type == lief.MachO.Header.CPU_TYPE.ARM64)
for address, word in WORDS.items():
    driver.patch_address(address, list(struct.pack("<I", word)))
fat.write(sys.argv[2])
