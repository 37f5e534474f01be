"""A small classifier of images, whose last hidden layer serves as a measure of likeness."""

from torch import nn


class Classifier(nn.Module):
    """Three convolutions that halve the image, an average over pixels and a linear layer: (B, C, H, W) -> (B, classes).

    Args:
        channels: of the images. classes: number of labels. width: of the first convolution; there are 4·width features.
    """

    def __init__(self, channels=1, classes=10, width=16):
        super().__init__()
        self.settings = dict(channels=channels, classes=classes, width=width)
        sizes, layers = (channels, width, 2 * width, 4 * width), []
        for a, b in zip(sizes, sizes[1:], strict=False):
            layers += [nn.Conv2d(a, b, 3, stride=2, padding=1), nn.GroupNorm(4, b), nn.SiLU()]
            layers += [nn.Conv2d(b, b, 3, padding=1), nn.GroupNorm(4, b), nn.SiLU()]
        self.features = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(sizes[-1], classes)

    def forward(self, x):
        """Logits, (B, classes)."""
        return self.head(self.features(x))
