"""The ablation: what each part of the method is worth, trained and tested from one grid."""
