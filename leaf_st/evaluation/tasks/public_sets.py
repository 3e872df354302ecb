"""Where the public finds the sets and texts that cards and pages of this repository name.

A results file names a local set, and a recipe names its texts, by a folder or file. A reader of a card does not have
that folder, so the card lists the public source of each name that is known here.
"""

PUBLIC_SETS: dict[str, str] = {
    "nfcorpus": "NFCorpus, test split (BEIR; 3,633 documents, 323 queries): mteb/nfcorpus on the Hugging Face hub",
    "cranfield": "Cranfield (1,400 documents, 225 queries): Glasgow IR test collections, or cranfield in ir_datasets",
    "cisi": "CISI (1,460 documents, 76 queries): Glasgow IR test collections",
    "liveqa_med2017": (
        "TREC LiveQA Medical 2017 (1,935 documents, 96 queries): github.com/abachaa/LiveQA_MedicalTask_TREC2017"
    ),
    "climate_fever_sentences": (
        "Climate-FEVER, claims and evidence sentences (5,239 documents, 1,061 queries): tdiggelm/climate_fever on "
        "the hub"
    ),
    "nq_utd": "NQ-UTD (Cocktail benchmark; 800 documents, 80 queries): IR-Cocktail/nq-utd on the hub",
    "stsbenchmark_test": "STS benchmark, test split: mteb/stsbenchmark-sts on the hub",
    "banking77": "Banking77: mteb/banking77 on the hub",
    "trec_question_type": "TREC question types: CogComp/trec on the hub",
    "stackoverflow_titles": "Stack Overflow titles in 20 classes: github.com/jacoxu/StackOverflow",
    "mrpc_test": "Microsoft Research Paraphrase Corpus, test split: nyu-mll/glue, configuration mrpc, on the hub",
}

PUBLIC_TEXTS: dict[str, str] = {
    "open_mix.parquet": (
        "388,496 texts of TREC Million Query and Terabyte queries; questions of NQ-open, TriviaQA, SQuAD, "
        "WebQuestions, WikiAnswers, SimpleQuestions, OpenTriviaQA and WikiTableQuestions; Schema-Guided Dialogue "
        "turns; arXiv titles and abstracts; MedQuAD; WordNet glosses; Wikipedia paragraphs; science sentences. Texts "
        "equal to a query or document of the retrieval sets were removed"
    ),
}
