# SPDX-License-Identifier: GPL-2.0
"""What is read from ACPICA's disassembly of firmware tables."""

import unittest

from iommu_core_tools import iasl

_HEAD = """
[000h 0000 004h]                   Signature : "{}"    [Some Table]
[004h 0004 004h]                Table Length : 00000080
[025h 0037 001h]                       Flags : 00
"""

_DMAR = _HEAD.format("DMAR") + """
[030h 0048 002h]               Subtable Type : 0000 [Hardware Unit Definition]
[032h 0050 002h]                      Length : 0018
[034h 0052 001h]                       Flags : 00
[036h 0054 002h]          PCI Segment Number : 0000
[038h 0056 008h]       Register Base Address : 00000000FED90000
[040h 0064 001h]           Device Scope Type : 01 [PCI Endpoint Device]
[041h 0065 001h]                Entry Length : 08
[042h 0066 001h]                       Flags : 00
[045h 0069 001h]              PCI Bus Number : 00
[046h 0070 002h]                    PCI Path : 02,00
[048h 0072 002h]               Subtable Type : 0000 [Hardware Unit Definition]
[04Ah 0074 002h]                      Length : 0010
[04Ch 0076 001h]                       Flags : 01
[04Eh 0078 002h]          PCI Segment Number : 0000
[050h 0080 008h]       Register Base Address : 00000000FED91000
[058h 0088 002h]               Subtable Type : 0001 [Reserved Memory Region]
[05Ah 0090 002h]                      Length : 0018
[05Eh 0094 002h]          PCI Segment Number : 0000
[060h 0096 008h]                Base Address : {:016X}
[068h 0104 008h]         End Address (limit) : {:016X}
Raw Table Data: Length 128 (0x80)
"""

_IVHD = """
[{0:03X}h 0048 001h]               Subtable Type : 10 [Hardware Definition Block (IVHD)]
[{0:03X}h 0050 002h]                      Length : 0020
[{0:03X}h 0052 002h]                    DeviceId : {1:04X}
[{0:03X}h 0056 008h]                Base Address : {2:016X}
[{0:03X}h 0064 002h]           PCI Segment Group : 0000
[{0:03X}h 0072 001h]               Subtable Type : 03 [Device Entry: Start of Range]
[{0:03X}h 0073 002h]                   Device ID : {3:04X}
[{0:03X}h 0076 001h]               Subtable Type : 04 [Device Entry: End of Range]
[{0:03X}h 0077 002h]                   Device ID : {4:04X}
"""


class Dmar(unittest.TestCase):
    def test_units_regions_and_ids(self):
        facts = iasl.facts(_DMAR.format(0x1000, 0x2FFF))
        self.assertTrue(facts.is_whole)
        self.assertEqual((facts.counts["DRHD"], facts.counts["RMRR"]), (2, 1))
        self.assertEqual(facts.units, [(0xFED90000, 0), (0xFED91000, 0)])
        self.assertEqual(facts.regions, [(0x1000, 0x2FFF, 0)])
        self.assertEqual(facts.ids[0][0x10], 0xFED90000)
        self.assertEqual((facts.ids[0][0x11], facts.ids[0][0xFFFF]), (0xFED91000, 0xFED91000))

    def test_odd_regions(self):
        self.assertEqual(iasl.facts(_DMAR.format(0x1800, 0x27FF)).regions, [(0x1000, 0x2FFF, 0)])
        facts = iasl.facts(_DMAR.format(0, 0))
        self.assertEqual((facts.regions, facts.counts["RMRR"]), ([], 0))

    def test_where_iasl_gives_up(self):
        text = _DMAR.format(0, 0).replace("Raw Table", "Invalid zero length subtable\nRaw Table")
        self.assertFalse(iasl.facts(text).is_whole)


class Ivrs(unittest.TestCase):
    def test_the_last_unit_that_lists_an_id_gets_it(self):
        one = _IVHD.format(0x30, 2, 0xFED80000, 0x10, 0x2F)
        other = _IVHD.format(0x50, 3, 0xFED84000, 0x20, 0x3F)
        ids = iasl.facts(_HEAD.format("IVRS") + one + other).ids[0]
        self.assertEqual([ids[number] for number in (0x0F, 0x10, 0x20, 0x3F, 0x40)],
                         [None, 0xFED80000, 0xFED84000, 0xFED84000, None])  # fmt: skip

    def test_a_units_own_id_belongs_to_none(self):
        text = _HEAD.format("IVRS") + _IVHD.format(0x30, 0x11, 0xFED80000, 0x10, 0x12)
        self.assertEqual(iasl.facts(text).ids[0][0x10:0x13], [0xFED80000, None, 0xFED80000])


class Others(unittest.TestCase):
    def test_other_tables_have_no_facts(self):
        self.assertIsNone(iasl.facts(_HEAD.format("APIC")))
