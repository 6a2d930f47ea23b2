"""The ablation: the effect of each part of the method, trained and tested from a grid."""
