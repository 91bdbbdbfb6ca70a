"""Figures that others published: cited, not measured here. Protocols differ in details."""

from __future__ import annotations

from dhpe_lab.evaluation.report.pages import Columns

PAPER = "Baek et al. 2019, the paper"
AUC_20_50 = {  # area under 3D-PCK from 20 to 50 mm; "recalled": from memory, not looked up again
    "rhd": {
        PAPER: ".926", "Cai et al. 2018": ".887", "Spurr et al. 2018": ".849",
        "Zimmermann & Brox 2017": ".675", "best since": ".964",
    },
    "stb": {
        PAPER: ".995 (recalled)", "Iqbal et al. 2018": ".994", "Spurr et al. 2018": ".983",
        "Mueller et al. 2018": ".965", "Zimmermann & Brox 2017": ".948",
        "Panteleris et al. 2018, keypoints": ".941", "particle swarm": ".709",
    },
    "dexter+object": {
        PAPER: "about .65 (recalled)", "Mueller et al. 2018": ".48",
        "Iqbal et al. 2018": ".43 to .71 by protocol", "best since": ".948",
    },
}  # fmt: skip
RHD_MASKS = (  # the paper's Table 2, recalled: IoU, precision, recall, F1 in percent
    (PAPER, "65.1", "82.8", "75.3", "78.9"),
    ("Zimmermann & Brox 2017", "35.4", "36.5", "92.1", "52.3"),
)


def cited_tables(set_name: str) -> list[tuple[str, list, Columns]]:
    """Arguments of ``table``: published figures on a set, marked as cited; none of our own sets."""
    columns = {"auc": ("published", "")}
    rows = [(f"{who} [cited]", {"auc": auc}) for who, auc in AUC_20_50.get(set_name, {}).items()]
    tables = [(f"{set_name}: AUC 20-50 mm", rows, columns)] if rows else []
    if set_name == "rhd":
        names = ("IoU", "precision", "recall", "F1")
        masks = [(f"{who} [cited]", dict(zip(names, of, strict=True))) for who, *of in RHD_MASKS]
        tables.append(("rhd: masks, %", masks, {name: (name, "") for name in names}))
    return tables
