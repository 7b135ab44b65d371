"""Files by which it is known what a folder is; knows nothing of what is in them."""

RUN = "run.json"
TRAINED = "metrics.jsonl"
TRAIN_SETTINGS = "settings.json"
EVALUATION = "evaluation.json"
EVALUATIONS = "evaluations.json"
