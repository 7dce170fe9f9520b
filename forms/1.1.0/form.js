(function () {
    $.atoms["bk-plugin-demo"] = [
        {
            "type": "int",
            "attrs": {
                "name": "从几开始倒数",
                "hookable": true,
                "default": 3
            },
            "tag_code": "times"
        },
        {
            "type": "int",
            "attrs": {
                "name": "间隔（秒）",
                "hookable": true,
                "default": 1
            },
            "tag_code": "interval"
        }
    ]
})();
