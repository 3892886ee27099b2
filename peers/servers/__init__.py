"""What a user would serve these models with instead: each system in a folder of its own, behind the same HTTP
contract for one text, POST /sentiment and POST /translate."""
