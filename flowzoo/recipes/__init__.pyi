from .trainer import train as train
