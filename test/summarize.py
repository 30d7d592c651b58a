"""Adds up the JUnit reports of lit and ctest in a directory; prints what failed, then "N passed, N failed, N skipped"."""
import glob
import os
import sys
import xml.etree.ElementTree as ET

passed, failed, skipped = 0, [], {}
reports = sorted(glob.glob(os.path.join(sys.argv[1], "*.xml")))
for report in reports:
    for case in ET.parse(report).getroot().iter("testcase"):
        name = f"{os.path.basename(report)[:-4]}: {case.get('classname', '')}.{case.get('name', '')}"
        skip = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None or case.get("status") == "fail":
            failed.append(name)
        elif skip is not None or case.get("status") in ("notrun", "disabled"):
            reason = (skip.get("message") if skip is not None else None) or "no reason given"
            skipped[reason] = skipped.get(reason, 0) + 1
        else:
            passed += 1
if not reports:
    failed.append("no test report was written")
for name in failed:
    print("FAILED", name)
for reason, count in skipped.items():
    print(f"skipped {count}: {reason}")
print(f"{passed} passed, {len(failed)} failed, {sum(skipped.values())} skipped")
sys.exit(1 if failed or passed == 0 else 0)
