"""Scripts that run in the environments of the servers cannot be imported in ours, so no doctests are sought in them."""

collect_ignore = [
    "language_client.py",
    "llama_client.py",
    "llama_engine.py",
    "kserve_model.py",
    "bento_model.py",
    "litserve_model.py",
    "mlflow_model.py",
    "mlflow_train.py",
    "mlserver_models.py",
]
