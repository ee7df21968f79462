"""A gradient-boosted classifier of the wines that scikit-learn ships, in the style of a notebook turned into functions."""
from sklearn.datasets import load_wine
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.model_selection import cross_val_score


def train(learning_rate=0.1, max_depth=3, n_estimators=20, random_state=0):
    data = load_wine()
    model = GradientBoostingClassifier(
        learning_rate=learning_rate, max_depth=max_depth, n_estimators=n_estimators, random_state=random_state
    )
    scores = cross_val_score(model, data.data, data.target, cv=3)
    print(f"learning_rate={learning_rate} max_depth={max_depth}: {scores.mean():.4f}")
    return {"accuracy": float(scores.mean()), "spread": float(scores.std())}
