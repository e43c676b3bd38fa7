"""A model as a judge of two answers: which pairs it is asked about, how, what its answer says, and what it may cost.

    drawing     which pairs are judged, and in which order the two answers stand: keyed hashes
    question    the messages, from the rubric, the request and both answers; the bytes of the request to the judge
    verdict     what came back: first, second or tie, or why it is not judged
    budget      what a judge may spend in a period, and what it has spent
    largest     what is set aside for each question: as much as the largest one comes to
    position    how often the first of the two wins: a judge's position bias
    anchor_lines, anchors    pairs whose verdict is known, and whether the judge still gives it

Pure: whoever asks (`controller.judging`, `cli`) brings clock, keys and network.
"""
