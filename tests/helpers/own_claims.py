"""A claim of a user's own."""

CLF_BEATS_BT = {
    "claim": "CLF-MLP is better.",
    "source": "RBT",
    "contrast": {"field": "loss", "a": "clf_mlp", "b": "bt_mlp"},
    "test": "greater",
}
