"""Judges at work: what `proxy.judges` decides, asked over the network, and given to the evidence in request order.

    pair ─drawn─▶ RolloutJudging ─question─▶ JudgeQueue ─▶ JudgeAsker (cache, budget) ─▶ JudgeClient ─▶ the judge
                        ▲                                                                                │
                        └──────────── verdict, or why there is none ◀────────────────────────────────────┘
                        └─ in request order, per worker ─▶ Evidence.judged

Nothing here is on the way of a live answer, of a pair or of a look: a judge that is down or slow costs verdicts, which
are counted by reason, and nothing else.
"""
