"""Numbers that the decks and papers report, as they stand there once rows and units are put right."""

# Bits per dimension of held-out images, lower is better: (ImageNet 64 × 64, CIFAR-10), None where nothing is reported.
# Source: deck 002, after Nichol & Dhariwal 2021, table 3; ledger NUM-1, E-54 (no unit is printed, and one in bold).
LIKELIHOODS = {
    "Glow": (3.81, 3.35), "Flow++": (3.69, 3.08), "PixelCNN": (3.57, 3.14), "SPN": (3.52, None), "NVAE": (None, 2.91),
    "Very Deep VAE": (3.52, 2.87), "PixelSNAIL": (3.52, 2.85), "Image Transformer": (3.48, 2.90),
    "Sparse Transformer": (3.44, 2.80), "Routing Transformer": (3.43, None), "DDPM": (3.77, 3.70),
    "DDPM, continuous flow": (None, 2.99), "Improved DDPM": (3.53, 2.94),
}  # fmt: skip

# FID of DDIM after so many steps, lower is better: data -> η -> values.
# Source: Song, Meng & Ermon 2021, table 1; ledger NUM-2, E-62 (deck 002 has the row "hat" shifted by one cell).
FID_STEPS = (10, 20, 50, 100, 1000)
FID = {
    "CIFAR-10": {
        "0": (13.36, 6.84, 4.67, 4.16, 4.04), "0.2": (14.04, 7.11, 4.77, 4.25, 4.09),
        "0.5": (16.66, 8.35, 5.25, 4.46, 4.29), "1": (41.07, 18.36, 8.01, 5.78, 4.73),
        "hat": (367.43, 133.37, 32.72, 9.99, 3.17),
    },
    "CelebA": {
        "0": (17.33, 13.73, 9.17, 6.53, 3.51), "0.2": (17.66, 14.11, 9.51, 6.79, 3.64),
        "0.5": (19.86, 16.06, 11.01, 8.09, 4.28), "1": (33.12, 26.03, 18.48, 13.93, 5.98),
        "hat": (299.71, 183.83, 71.71, 45.20, 3.26),
    },
}  # fmt: skip

# Classifier-free guidance on ImageNet 64 × 64, labels hidden for a tenth of the examples: w -> (FID, inception score).
# Source: Ho & Salimans 2022, table 1, by way of deck 002; ledger NUM-3.
CLASSIFIER_FREE = {0: (1.80, 53.71), 1: (12.6, 170.1), 3: (24.83, 250.4)}

# FID of samples of an unconditional ImageNet 256 × 256 model guided by a classifier of scale γ.
# Source: Dhariwal & Nichol 2021, table 4, by way of deck 002 (beside figure 3, corgis); ledger NUM-4.
CLASSIFIER_SCALE = {1: 33.0, 10: 12.0}

# FID on CIFAR-10 of students by halvings from 8192 steps, after so many steps. Source: Salimans & Ho 2022, table 2; the
# decks say 10 to 1000 steps and more before distillation, 4 to 8 after it (ledger NUM-5).
STUDENTS = {8: 2.57, 4: 3.00, 2: 4.51, 1: 9.12}

# FID on CIFAR-10 in one step. Source: Luhman & Luhman 2021; Salimans & Ho 2022; Song et al. 2023, table 1 (the loss of
# this one is a perceptual distance); ledger M-20.
ONE_STEP = {"pairs": 9.36, "halvings": 9.12, "consistency": 3.55}
