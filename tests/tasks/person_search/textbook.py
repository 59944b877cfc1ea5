"""The loop over queries that every re-identification toolbox has: the second opinion of tests and of the benchmark."""

from __future__ import annotations

import numpy as np

from tasks.person_search.judging.ranking import Ranking


def textbook(distance, query_ids, query_cameras, gallery_ids, gallery_cameras, *, listed: bool = True) -> Ranking:
    """One sort and one walk a query, with a stable sort, and with mINP added (matches / rank of the last one).

    `listed`: the precisions in a Python list, as torchreid 1.4 has it (reid/metrics/rank.py, eval_market1501);
    otherwise in numpy.
    """
    ap, inp, first = [], [], []
    for row, identity, camera in zip(distance, query_ids, query_cameras, strict=True):
        order = np.argsort(row, kind="stable")
        matches = (gallery_ids[order] == identity).astype(np.int32)
        remove = (gallery_ids[order] == identity) & (gallery_cameras[order] == camera)
        raw = matches[np.invert(remove)]
        if identity < 0 or not np.any(raw):
            ap.append(np.nan), inp.append(np.nan), first.append(0)
            continue
        hits = raw.cumsum()
        if listed:
            precisions = np.asarray([x / (i + 1.0) for i, x in enumerate(hits)])
        else:
            precisions = hits / np.arange(1, len(hits) + 1)
        ap.append((precisions * raw).sum() / raw.sum())
        inp.append(raw.sum() / (np.flatnonzero(raw)[-1] + 1))
        first.append(np.flatnonzero(raw)[0] + 1)
    return Ranking(np.array(ap), np.array(inp), np.array(first))
