"""Where the public finds the evaluation sets that cards of this repository name.

A results file names a local set by its folder or file. A reader of a card does not have that folder, so the card lists
the public source of each set that is known here.
"""

PUBLIC_SETS: dict[str, str] = {
    "nfcorpus": "NFCorpus, test split (BEIR): mteb/nfcorpus on the Hugging Face hub",
    "cranfield": "Cranfield: Glasgow IR test collections, or cranfield in ir_datasets",
    "cisi": "CISI: Glasgow IR test collections",
    "liveqa_med2017": "TREC LiveQA Medical 2017: github.com/abachaa/LiveQA_MedicalTask_TREC2017",
    "climate_fever_sentences": "Climate-FEVER, claims and evidence sentences: tdiggelm/climate_fever on the hub",
    "nq_utd": "NQ-UTD (Cocktail benchmark): IR-Cocktail/nq-utd on the hub",
    "stsbenchmark_test": "STS benchmark, test split: mteb/stsbenchmark-sts on the hub",
    "banking77": "Banking77: mteb/banking77 on the hub",
    "trec_question_type": "TREC question types: CogComp/trec on the hub",
    "stackoverflow_titles": "Stack Overflow titles in 20 classes: github.com/jacoxu/StackOverflow",
    "mrpc_test": "Microsoft Research Paraphrase Corpus, test split: nyu-mll/glue, configuration mrpc, on the hub",
}
