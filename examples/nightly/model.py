"""Tonight's model of handwritten digits (a data set that scikit-learn ships) and its score digit by digit."""
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import recall_score
from sklearn.model_selection import train_test_split


def evaluate(samples=600, random_state=0):
    data = load_digits()
    x, _, y, _ = train_test_split(
        data.data / 16, data.target, train_size=samples, stratify=data.target, random_state=random_state
    )
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.3, stratify=y, random_state=random_state)
    model = LogisticRegression(max_iter=500).fit(x_train, y_train)
    recalls = recall_score(y_test, model.predict(x_test), average=None)
    scores = {str(digit): float(recall) for digit, recall in enumerate(recalls)}
    accuracy = float(model.score(x_test, y_test))
    print(f"accuracy {accuracy:.4f}")
    return {"accuracy": accuracy, "scores": scores}
